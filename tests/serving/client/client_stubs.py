"""Stub servers for the client's tests: a text classifier over REST and gRPC, with faults on demand.

A ``Fault`` replaces a response. ``Stub.calls`` records the requests.
"""

import base64
import contextlib
import dataclasses
import datetime
import http.server
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from serving.protocol import protos, tensors
from serving.protocol.errors import Code

LABELS = ["bad", "good"]
SCORES = {True: [0.25, 0.75], False: [0.75, 0.25]}


@dataclasses.dataclass
class Fault:
    """An error that replaces a response."""

    code: Code
    message: str = "out of order"
    retry_after: float | None = None
    delay: float = 0.0


@dataclasses.dataclass
class Call:
    route: str
    texts: list[str]
    headers: dict[str, str]
    time: float
    time_remaining: float | None = None


@dataclasses.dataclass
class Stub:
    url: str = ""
    calls: list[Call] = dataclasses.field(default_factory=list)
    faults: list[Fault] = dataclasses.field(default_factory=list)
    always: Fault | None = None
    outputs: Callable[[list[str]], dict[str, list[Any]]] | None = None
    running: int = 0
    most_running: int = 0
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    gate: threading.Event = dataclasses.field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def answer(self, texts: list[str]) -> dict[str, list[Any]]:
        if self.outputs:
            return self.outputs(texts)
        good = ["good" in text for text in texts]
        return {
            "scores": [SCORES[is_good] for is_good in good],
            "label": [LABELS[is_good] for is_good in good],
            "score": [0.75 for _ in good],
        }

    def enter(self, call: Call) -> Fault | None:
        with self.lock:
            self.calls.append(call)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            fault = self.faults.pop(0) if self.faults else self.always
        self.gate.wait(30)
        if fault and fault.delay:
            time.sleep(fault.delay)
        return fault

    def leave(self) -> None:
        with self.lock:
            self.running -= 1


STATUS = [(8, "LOADING", "OK", ""), (7, "AVAILABLE", "OK", ""), (6, "END", "NOT_FOUND", "gone")]
SIGNATURE = {
    "inputs": {"text": ("DT_STRING", [-1])},
    "outputs": {
        "label": ("DT_STRING", [-1]),
        "score": ("DT_FLOAT", [-1]),
        "scores": ("DT_FLOAT", [-1, 2]),
    },
}


def _signature_json() -> dict[str, Any]:
    return {
        side: {
            name: {
                "dtype": dtype,
                "tensor_shape": {
                    "dim": [{"size": str(size), "name": ""} for size in shape],
                    "unknown_rank": False,
                },
                "name": f"{name}:0",
            }
            for name, (dtype, shape) in SIGNATURE[side].items()
        }
        for side in SIGNATURE
    } | {"method_name": "tensorflow/serving/predict"}


@dataclasses.dataclass(frozen=True)
class Certificate:
    """PEM files of a self-signed certificate for 127.0.0.1."""

    certificate: Path
    key: Path


def write_certificate(folder: Path) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stub")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = Certificate(folder / "certificate.pem", folder / "key.pem")
    files.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


@contextlib.contextmanager
def rest_stub(tls: Certificate | None = None) -> Iterator[Stub]:
    stub = Stub()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.reply(stub.enter(Call(self.path, [], dict(self.headers), time.monotonic())), {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            texts = [_text(value) for value in body["inputs"].get("text", [])]
            call = Call(self.path, texts, {k.lower(): v for k, v in self.headers.items()}, 0)
            call.time = time.monotonic()
            self.reply(stub.enter(call), stub.answer(texts))

        def reply(self, fault: Fault | None, outputs: dict[str, Any]) -> None:
            try:
                status = 200
                answer: dict[str, Any] = {"outputs": outputs}
                if len(outputs) == 1:
                    answer = {"outputs": next(iter(outputs.values()))}
                if self.path.endswith("/metadata"):
                    spec = {"name": "default", "signature_name": "", "version": "7"}
                    definitions = {"signature_def": {"serving_default": _signature_json()}}
                    answer = {"model_spec": spec, "metadata": {"signature_def": definitions}}
                elif self.command == "GET":
                    names = ("version", "state", "error_code", "error_message")
                    rows = [dict(zip(names, map(str, row), strict=True)) for row in STATUS]
                    answer = {
                        "model_version_status": [
                            {
                                "version": row["version"],
                                "state": row["state"],
                                "status": {
                                    "error_code": row["error_code"],
                                    "error_message": row["error_message"],
                                },
                            }
                            for row in rows
                        ]
                    }
                if fault and fault.code is not Code.OK:
                    status, answer = fault.code.http_status, {"error": fault.message}
                data = json.dumps(answer, indent=1).encode()
                self.send_response(status)
                if fault and fault.retry_after is not None:
                    self.send_header("retry-after", f"{fault.retry_after:g}")
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                self.close_connection = True
            finally:
                stub.leave()

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    server = Server(("127.0.0.1", 0), Handler)
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls.certificate, tls.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    stub.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    try:
        yield stub
    finally:
        stub.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else base64.b64decode(value["b64"]).decode()


@contextlib.contextmanager
def grpc_stub(tls: Certificate | None = None) -> Iterator[Stub]:
    stub = Stub()

    def serve(call: Call, context: Any, make: Callable[[], Any]) -> Any:
        fault = stub.enter(call)
        try:
            if fault and fault.code is not Code.OK:
                if fault.retry_after is not None:
                    asked = str(int(fault.retry_after * 1000))
                    context.set_trailing_metadata([("grpc-retry-pushback-ms", asked)])
                code = next(code for code in grpc.StatusCode if code.value[0] == fault.code)
                context.abort(code, fault.message)
            return make()
        finally:
            stub.leave()

    def make_call(spec: Any, texts: list[str], context: Any) -> Call:
        route = f"{spec.name}/{spec.version.value or spec.version_label}"
        headers = dict(context.invocation_metadata())
        return Call(route, texts, headers, time.monotonic(), context.time_remaining())

    class Prediction(protos.prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
            texts = [t.decode() for t in tensors.to_array(request.inputs["text"]).tolist()]
            call = make_call(request.model_spec, texts, context)
            return serve(call, context, lambda: self.answer(request, texts))

        def answer(self, request: Any, texts: list[str]) -> Any:
            response = protos.predict_pb2.PredictResponse()
            for name, values in stub.answer(texts).items():
                if request.output_filter and name not in request.output_filter:
                    continue
                is_text = bool(values) and isinstance(values[0], str)
                array = np.array([v.encode() for v in values] if is_text else values)
                kind = protos.types_pb2.DT_STRING if is_text else protos.types_pb2.DT_FLOAT
                array = array.astype(object) if is_text else array.astype(np.float32)
                tensors.fill_proto(response.outputs[name], array, kind)
            return response

        def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
            response = protos.get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = 7
            signatures = protos.get_model_metadata_pb2.SignatureDefMap()
            signature = signatures.signature_def["serving_default"]
            signature.method_name = "tensorflow/serving/predict"
            for side, known in SIGNATURE.items():
                for name, (dtype, shape) in known.items():
                    info = getattr(signature, side)[name]
                    info.dtype = protos.types_pb2.DataType.Value(dtype)
                    for size in shape:
                        info.tensor_shape.dim.add(size=size)
            response.metadata["signature_def"].Pack(signatures)
            call = make_call(request.model_spec, [], context)
            return serve(call, context, lambda: response)

    class Models(protos.model_service_pb2_grpc.ModelServiceServicer):
        def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
            response = protos.get_model_status_pb2.GetModelStatusResponse()
            for version, state, code, message in STATUS:
                status = response.model_version_status.add(version=version)
                status.state = status.State.Value(state)
                status.status.error_code = Code[code]
                status.status.error_message = message
            call = make_call(request.model_spec, [], context)
            return serve(call, context, lambda: response)

    server = grpc.server(futures.ThreadPoolExecutor(16))
    protos.prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Prediction(), server)
    protos.model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(), server)
    if tls:
        pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    stub.url = f"{'grpcs' if tls else 'grpc'}://127.0.0.1:{port}"
    try:
        yield stub
    finally:
        stub.gate.set()
        server.stop(0).wait()


STUBS = {"rest": rest_stub, "grpc": grpc_stub}
