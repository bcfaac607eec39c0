from serving.server.worker import precision


def test_only_our_packed_graph_freezes_its_weights() -> None:
    ours = ["serving_default", "serving_default_bfloat16"]
    environ: dict[str, str] = {}
    precision.freeze_weights(["serving_default"], environ)
    assert environ == {}
    precision.freeze_weights(ours, environ)
    assert environ == {precision.VARIABLE: "1"}
    environ[precision.VARIABLE] = "0"
    precision.freeze_weights(ours, environ)
    assert environ == {precision.VARIABLE: "0"}, "an existing value is kept"
