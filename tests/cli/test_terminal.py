import pytest

from cli.terminal import duration, print_error, stdout


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.23, "4.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1:00"),
        (65, "1:05"),
        (3599.6, "1:00:00"),
        (3725, "1:02:05"),
    ],
)
def test_duration_is_formatted_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_error_in_a_pipe_is_one_line_without_colour(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_error("bad [red]thing[/red]\n  in " + "a very long path " * 20)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: bad [red]thing[/red] in a very")
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_output_to_a_file_is_not_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    stdout().print("word " * 100)
    assert capsys.readouterr().out.count("\n") == 1
