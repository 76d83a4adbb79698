"""The recipes, one commented YAML each."""
