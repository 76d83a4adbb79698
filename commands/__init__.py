"""What the subcommands do, one file each: where models, data and the zoo meet."""
