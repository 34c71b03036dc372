"""The search at the size of the full catalogue: memory, build and query time over documents of Zipf's words.

`python -m scripts.bench.webshop_index [--quick] [--documents N] [--queries N]`; the last line is a JSON object.
"""

import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from envs.webshop.index import IndexBuilder, open_index
from scripts.bench.command_line import parser, report

WORDS, LENGTH, ZIPF = 500_000, 110, 1.07
CHUNK = 20_000
DOCUMENTS, QUICK_DOCUMENTS = 1_180_000, 2_000


def main() -> None:
    """Build an index of random documents, then ask it queries of instruction length."""
    command = parser(__doc__)
    command.add_argument("--documents", type=int, default=None, help=f"default {DOCUMENTS}")
    command.add_argument("--queries", type=int, default=200)
    args = command.parse_args()
    documents = args.documents or (QUICK_DOCUMENTS if args.quick else DOCUMENTS)
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, WORDS + 1) ** ZIPF
    reach = np.cumsum(share / share.sum())
    with tempfile.TemporaryDirectory() as name:
        start_s = time.perf_counter()
        builder = IndexBuilder()
        for start in range(0, documents, CHUNK):
            numbers = np.searchsorted(reach, rng.random((min(CHUNK, documents - start), LENGTH)))
            for words in numbers.tolist():
                builder.add(" ".join([f"w{word}" for word in words]))
        builder.write(Path(name))
        build_s = time.perf_counter() - start_s
        index = open_index(Path(name))
        times = []
        for _ in range(args.queries):
            words = np.searchsorted(reach, rng.random(20))
            query = " ".join(f"w{word}" for word in words)
            start_s = time.process_time()
            index.search(query, most=50, name=str)
            times.append((time.process_time() - start_s) * 1e3)
        disk_gb = sum(path.stat().st_size for path in Path(name).iterdir()) / 2**30
    result = {
        "documents": documents,
        "build_s": round(build_s, 1),
        "disk_gb": round(disk_gb, 2),
        "query_ms_median": round(float(np.median(times)), 2),
        "query_ms_p95": round(float(np.percentile(times, 95)), 2),
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
    for key, value in result.items():
        print(f"{key:18} {value}")
    report(result)


if __name__ == "__main__":
    main()
