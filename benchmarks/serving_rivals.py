"""The other sides of ``benchmarks.serving``, for an environment without this project."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

OPTIONS = json.loads(sys.argv[1])
os.environ["OMP_NUM_THREADS"] = str(OPTIONS["threads"])
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)

Answer = Callable[[list[str]], object]


def main() -> None:
    """Classify the batches named on each line of standard input."""
    torch.set_num_threads(OPTIONS["threads"])
    mixes = json.loads(Path(OPTIONS["texts"]).read_text())
    torch.manual_seed(0)
    onnx = OPTIONS["rival"].startswith("ONNX")
    model = AutoModelForSequenceClassification.from_pretrained(
        OPTIONS["folder"],
        # ONNX Runtime's optimiser only recognises the plain form of attention.
        attn_implementation="eager" if onnx else None,
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(OPTIONS["folder"])
    answer = use_pipeline(model, tokenizer)
    if onnx:
        answer = use_onnx(model, tokenizer)
    for line in sys.stdin:
        request = json.loads(line)
        batches = mixes[request["mix"]][request["round"]]
        wall, cpu = time.perf_counter(), time.process_time()
        for batch in batches:
            answer(batch)
        report = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
        print(json.dumps(report), flush=True)


def use_pipeline(model: torch.nn.Module, tokenizer: object) -> Answer:
    """Return transformers' text-classification pipeline, with one forward pass per batch."""
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    length = {"truncation": True, "max_length": OPTIONS["max_length"]}
    return lambda batch: classify(batch, batch_size=len(batch), **length)


def use_onnx(model: torch.nn.Module, tokenizer: Callable) -> Answer:
    """Return ONNX Runtime with the graph from its transformer optimiser, optionally in int8."""
    import onnxruntime
    from onnx import TensorProto
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.transformers.optimizer import optimize_model

    folder = tempfile.mkdtemp()
    path, optimised = f"{folder}/model.onnx", f"{folder}/optimised.onnx"
    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = tokenizer(["a text", "a longer text"], padding=True, return_tensors="pt")
    torch.onnx.export(
        model,
        tuple(example[name] for name in names),
        path,
        input_names=names,
        output_names=["logits"],
        dynamic_axes={name: {0: "batch", 1: "length"} for name in names} | {"logits": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    config = model.config
    optimize_model(
        path, "bert", num_heads=config.num_attention_heads, hidden_size=config.hidden_size
    ).save_model_to_file(optimised)
    if OPTIONS["rival"].endswith("int8"):
        floats = {"DefaultTensorType": TensorProto.FLOAT}  # type of the outputs of fused ops
        quantize_dynamic(optimised, f"{folder}/int8.onnx", extra_options=floats)
        optimised = f"{folder}/int8.onnx"
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = OPTIONS["threads"]
    session = onnxruntime.InferenceSession(optimised, settings, ["CPUExecutionProvider"])

    def answer(batch: list[str]) -> object:
        inputs = tokenizer(
            batch,
            padding=True,
            truncation=True,
            max_length=OPTIONS["max_length"],
            return_tensors="np",
            return_token_type_ids=True,
        )
        return session.run(["logits"], {name: inputs[name] for name in names})[0].argmax(axis=1)

    return answer


if __name__ == "__main__":
    main()
