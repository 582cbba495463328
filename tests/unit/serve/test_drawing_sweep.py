"""Parallel coordinates: every value lies where it is on its axis, and the first trial on top."""

from trainwright.core.records import Dimension, Objective, Sweep
from trainwright.serve.drawing_sweep import MAX_LINES, draw_parallel
from trainwright.sweep.ranking import Rank, estimate_seeds
from trainwright.sweep.record import TrialState


class _State(TrialState):
    """A completed trial with a value, without runs."""

    status = "completed"
    value = property(lambda self: self.values["objective"])


def build(num_trials):
    sweep = Sweep(
        name="rates",
        dataset="a" * 64,
        manifest={},
        overrides=(),
        space=(
            Dimension(key="rate", kind="float", low=0.001, high=0.1, log=True),
            Dimension(key="name", kind="categorical", values=("a", "b", "c")),
            Dimension(key="layers", kind="int", low=1, high=5),
        ),
        sampler="random",
        num_trials=num_trials,
        num_seeds=1,
        objective=Objective(metric="bits_per_byte", direction="minimize"),
        pruning=None,
        seed=0,
    )
    states = [
        _State(number, {"rate": 0.01, "name": "c", "layers": 2, "objective": float(number)}, 1, (), ())
        for number in range(1, num_trials + 1)
    ]
    ranks = [
        Rank(
            number=state.number,
            place=state.number,
            figure=estimate_seeds([state.value]),
            difference=None,
            test=None,
            p_adjusted=None,
        )
        for state in states
    ]
    return sweep, states, ranks


def test_values_lie_where_they_are_on_their_axes():
    drawing = draw_parallel(*build(5))
    assert [axis.name for axis in drawing.axes] == ["rate", "name", "layers", "bits per byte"]
    assert [axis.is_log for axis in drawing.axes] == [True, False, False, False]
    assert [tick.text for tick in drawing.axes[1].ticks] == ["a", "b", "c"]
    *_, best = drawing.lines
    assert (best.name, best.band) == ("trial 1, place 1", 0)
    assert (
        best.points == "0.0,150.0 333.3,0.0 666.7,225.0 1000.0,300.0"
    )  # the middle, the top, a quarter up, the bottom
    assert [line.band for line in drawing.lines] == [4, 4, 3, 2, 0]


def test_nothing_is_drawn_of_nothing_and_of_very_many_the_best():
    assert draw_parallel(*build(0)) is None
    drawing = draw_parallel(*build(MAX_LINES + 3))
    assert (len(drawing.lines), drawing.left_out) == (MAX_LINES, 3)
    assert len(draw_parallel(*build(1)).lines) == 1
