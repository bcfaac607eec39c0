"""Our side of ``benchmarks.serving``: an exported model in a v1 Session."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from serving.server.worker import precision

OPTIONS = json.loads(sys.argv[1])
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["OMP_NUM_THREADS"] = str(OPTIONS["threads"])
# Same as in our server and deployment files. ONNX Runtime always packs weights once.
os.environ[precision.VARIABLE] = "1"

import tensorflow as tf  # noqa: E402
import tensorflow_text  # noqa: E402, F401 (registers its ops)

v1 = tf.compat.v1
#: (rows, inner, columns) of the matrix products whose best speed is the machine's peak.
GEMM_SHAPES = ((2048, 384, 1536), (2048, 1536, 384), (2048, 2048, 2048))


def main() -> None:
    """Classify the batches named on each line of standard input, or measure the peak."""
    mixes = json.loads(Path(OPTIONS["texts"]).read_text())
    with session() as open_session:
        signatures = v1.saved_model.load(open_session, ["serve"], OPTIONS["model"]).signature_def
        signature = signatures[OPTIONS["signature"]]
        graph = open_session.graph
        outputs = [graph.as_graph_element(output.name) for output in signature.outputs.values()]
        feed = graph.as_graph_element(signature.inputs["text"].name)
        answer = open_session.make_callable(outputs, [feed])
        for line in sys.stdin:
            request = json.loads(line)
            if request["mix"] == "gemm":
                print(json.dumps(gemm_peak()), flush=True)
                continue
            batches = mixes[request["mix"]][request["round"]]
            wall, cpu = time.perf_counter(), time.process_time()
            for batch in batches:
                answer(batch)
            report = {
                "seconds": time.perf_counter() - wall,
                "cpu_seconds": time.process_time() - cpu,
            }
            print(json.dumps(report), flush=True)


def session() -> Any:
    """Create a session of a new graph with the configured number of threads."""
    threads = OPTIONS["threads"]
    config = v1.ConfigProto(
        intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads
    )
    graph = tf.Graph()
    graph.as_default().__enter__()
    return v1.Session(graph=graph, config=config)


def gemm_peak() -> dict[str, float]:
    """Measure the best FLOPs per CPU second of a matrix product in the signature's precision."""
    dtype = tf.bfloat16 if OPTIONS["signature"].endswith("_bfloat16") else tf.float32
    best = 0.0
    for rows, inner, columns in GEMM_SHAPES:
        with tf.Graph().as_default(), session() as open_session:
            left = v1.get_variable("left", initializer=tf.ones((rows, inner), dtype))
            right = v1.get_variable("right", initializer=tf.ones((inner, columns), dtype))
            open_session.run(v1.global_variables_initializer())
            multiply = open_session.make_callable(tf.matmul(left, right).op)
            for _ in range(40):
                started = time.process_time()
                multiply()
                flops = 2 * rows * inner * columns
                best = max(best, flops / (time.process_time() - started))
    return {"flops_per_cpu_second": best}


if __name__ == "__main__":
    main()
