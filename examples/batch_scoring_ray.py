"""Classify a folder of images with Ray Data, on one machine or a cluster.

    make install                     # elsewhere: cnnzoo with its extra `ray`
    python examples/batch_scoring_ray.py mnist_cnn photos/ answers/ --workers 2

Each worker opens the model once, and scores batches of paths with the function that `cnnzoo predict --output` uses. On
a cluster, the folder and the zoo must be on a file system that all machines see. Writes Parquet files into answers/.
"""

import argparse
from pathlib import Path
from typing import Any

import pyarrow
import ray

from cnnzoo.commands.score_formats import to_table
from cnnzoo.commands.scores_file import walk
from cnnzoo.commands.scoring import Scorer


class Score:
    """Function from a batch of paths to a table of answers. Ray creates one in each worker."""

    def __init__(self, model: str, zoo: Path | None) -> None:
        self.scorer = Scorer.open(model, zoo, threads=1)  # Ray starts a worker for each core

    def __call__(self, batch: dict[str, Any]) -> pyarrow.Table:
        files = [Path(path) for path in batch["path"]]
        return to_table(list(self.scorer.rows(files)), self.scorer.columns)


def score(model: str, images: Path, output: Path, workers: int, zoo: Path | None = None) -> int:
    """Score all images of a folder into Parquet files, and return their number."""
    paths = [{"path": str(path.absolute())} for path in walk([images])]
    answers = ray.data.from_items(paths).map_batches(
        Score, fn_constructor_args=(model, zoo), batch_size=64, compute=ray.data.ActorPoolStrategy(size=workers)
    )
    answers.write_parquet(str(output.absolute()))
    return len(paths)


def main() -> None:
    """Read the arguments, score, and say how many images were scored."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="NAME, NAME@VERSION or an ONNX file")
    parser.add_argument("images", type=Path, help="a folder of PNG and JPEG files")
    parser.add_argument("output", type=Path, help="a folder for the answers")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--zoo", type=Path, help="the zoo folder (default: as for cnnzoo predict)")
    args = parser.parse_args()
    if args.output.is_dir() and any(args.output.iterdir()):
        parser.error(f"{args.output} is not empty: give a new folder, since Ray adds files to those that are there")
    print(f"{score(args.model, args.images, args.output, args.workers, args.zoo)} images in {args.output}")


if __name__ == "__main__":
    main()
