"""Compare ways for ``bert serve`` to use a machine's cores: concurrent batches by threads per op.

Runs one server per way with default settings. The same clients send REST requests with one text
each to the servers in turn.

    python -m benchmarks.serving_threads --model VERSION --ways 1x2 2x1 2x2

Full texts come from ``imdb_5k.csv`` in the folder ``BERT_REAL_DATA``. Short texts come from the
bundled sample, as do all texts without that folder.
"""

import argparse
import contextlib
import os
import statistics
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.serving_server import CLIENTS, read_mixes, summarise_turn
from benchmarks.serving_servers import MODEL_NAME, BertServer, LoadProcess

#: (texts, clients, way)
Cell = tuple[str, int, str]


def main() -> None:
    """Run the comparison and print the result."""
    arguments = _parse_arguments()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        base = Path(folder, "models")
        base.mkdir()
        (base / "1").symlink_to(Path(arguments.model).resolve())
        load = stack.enter_context(LoadProcess())
        servers = {
            way: stack.enter_context(BertServer(base, _flags(way, Path(folder))))
            for way in arguments.ways
        }
        rates = _take_turns(arguments, load, servers)
    _print_table(arguments.ways, rates)
    print(f"load average {os.getloadavg()[0]:.1f}")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of an exported version")
    parser.add_argument("--ways", nargs="+", default=["1x2", "2x1", "2x2"], help="BATCHESxTHREADS")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=2.5, help="seconds per turn")
    return parser.parse_args()


def _flags(way: str, folder: Path) -> list[str]:
    batches, threads = map(int, way.split("x"))
    file = folder / f"{way}.txt"
    file.write_text(f"num_batch_threads {{ value: {batches} }}\n")
    return [
        f"--tensorflow_intra_op_parallelism={threads}",
        "--enable_batching=true",
        f"--batching_parameters_file={file}",
    ]


def _take_turns(
    arguments: argparse.Namespace, load: LoadProcess, servers: dict[str, BertServer]
) -> dict[Cell, list[float]]:
    """Return requests per second by cell, without the first round, which is a short warm-up."""
    texts = read_mixes()
    rates: dict[Cell, list[float]] = {}
    for index in range(arguments.rounds + 1):
        order = list(servers) if index % 2 else list(reversed(servers))
        for mix in texts:
            for clients in CLIENTS:
                for way in order:
                    answer = load.ask(
                        {
                            "protocol": "rest",
                            "port": servers[way].rest_port,
                            "path": f"/v1/models/{MODEL_NAME}:predict",
                            "clients": clients,
                            "seconds": arguments.seconds if index else 1.0,
                            "texts": texts[mix],
                        }
                    )
                    if index:
                        rate = summarise_turn(answer)["requests_per_second"]
                        rates.setdefault((mix, clients, way), []).append(rate)
    return rates


def _print_table(ways: list[str], rates: dict[Cell, list[float]]) -> None:
    table = Table("texts", "clients", title="requests per second, medians")
    for way in ways:
        table.add_column(way, justify="right")
    for mix, clients in dict.fromkeys((mix, clients) for mix, clients, _ in rates):
        medians = (statistics.median(rates[mix, clients, way]) for way in ways)
        table.add_row(mix, str(clients), *(f"{median:.0f}" for median in medians))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
