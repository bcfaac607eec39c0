from serving.server.worker import frozen_weights


def test_packed_weights_are_kept_of_our_graph_alone() -> None:
    ours = ["serving_default", "serving_default_bfloat16"]
    environ: dict[str, str] = {}
    frozen_weights.freeze_weights(["serving_default"], environ)
    assert environ == {}
    frozen_weights.freeze_weights(ours, environ)
    assert environ == {frozen_weights.VARIABLE: "1"}
    environ[frozen_weights.VARIABLE] = "0"
    frozen_weights.freeze_weights(ours, environ)
    assert environ == {frozen_weights.VARIABLE: "0"}, "who starts the server may say otherwise"
