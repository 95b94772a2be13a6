"""Python twin of `cargo run --release -p longtail-bench --bin annotations`.

    annotations.py lvis|coco FILE

Prints the seconds of `json.load` and indexing, and the peak memory of the process in bytes.
"""

import logging
import resource
import sys
import time

if sys.argv[1] == "lvis":
    from lvis import LVIS as Index

    logging.disable(logging.INFO)
else:
    from pycocotools.coco import COCO as Index

start = time.perf_counter()
index = Index(sys.argv[2])
seconds = time.perf_counter() - start
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
