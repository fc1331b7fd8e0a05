"""Which backends the tests run on, and the account of those that they did not run on."""

import os
from collections import Counter

import pytest

from backends import BACKENDS, DEVICES, LIBRARIES, REQUIRED, Backend, absence
from seed import SEED

# Keras has one backend a process, and looks once.
os.environ.setdefault("KERAS_BACKEND", "torch")


def pytest_report_header():
    return f"REVNORM_SEED={SEED}"


def pytest_addoption(parser):
    group = parser.getgroup("array libraries")
    group.addoption(
        "--backend",
        action="append",
        choices=LIBRARIES,
        help="run on this array library, and fail if it is missing; may be repeated",
    )
    group.addoption(
        "--device",
        action="append",
        choices=DEVICES,
        help="run on this device, and fail if it is missing; may be repeated",
    )
    group.addoption(
        "--require-backends",
        metavar="NAMES",
        help="libraries, separated by commas, without which the run fails "
        f"(without --backend and --device: {','.join(REQUIRED)})",
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "backends(*libraries): runs on these libraries only")
    config.addinivalue_line("markers", "sampled: typical functions only where a call is slow")
    asked = config.getoption("backend") or ()
    devices = config.getoption("device") or ()
    required = config.getoption("require_backends")
    if required is not None:
        required = tuple(filter(None, required.split(",")))
    else:
        required = asked or (() if devices else REQUIRED)
    for library in required:
        _require([b for b in BACKENDS if b.library == library and chosen(config, b)], library)
    for device in devices:
        _require([b for b in BACKENDS if b.device == device and chosen(config, b)], device)


def _require(candidates, asked):
    if not candidates:
        raise pytest.UsageError(f"{asked!r} was asked for, and there is no such backend")
    reasons = [absence(one) for one in candidates]
    if all(reasons):
        first = candidates[0]
        hint = f": pip install {first.requirement}" if reasons[0] == "not installed" else ""
        raise pytest.UsageError(f"{first.id} was asked for, and is missing ({reasons[0]}){hint}")


def chosen(config, backend):
    """Whether the command line leaves a backend in."""
    asked, devices = config.getoption("backend"), config.getoption("device")
    return (not asked or backend.library in asked) and (not devices or backend.device in devices)


def pytest_generate_tests(metafunc):
    if "backend" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("backends")
    params = [
        _param(backend, metafunc.function.__name__)
        for backend in BACKENDS
        if chosen(metafunc.config, backend) and (not marker or backend.library in marker.args)
    ]
    metafunc.parametrize("backend", params, indirect=True)


def _param(backend, test):
    marks = []
    if reason := absence(backend):
        marks.append(pytest.mark.skip(reason=f"{backend.id}: {reason}"))
    if reason := backend.known_failures.get(test):
        marks.append(pytest.mark.xfail(reason=reason, strict=True))
    return pytest.param(backend, id=backend.id, marks=marks)


def pytest_collection_modifyitems(config, items):
    elsewhere = []
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        backend = params.get("backend")
        if isinstance(backend, Backend):
            item.user_properties.append(("backend", backend.id))
            sampled = backend.slow and item.get_closest_marker("sampled")
            if sampled and "function" in params and not params["function"].typical:
                elsewhere.append(item)
        elif backend is not None:
            elsewhere.append(item)
    if elsewhere:
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if item not in elsewhere]


@pytest.fixture
def backend(request):
    """A library on a device."""
    with request.param.context():
        yield request.param


@pytest.fixture
def torch_asked(request):
    """For tests of what only PyTorch has."""
    asked = request.config.getoption("backend")
    if asked and "torch" not in asked:
        pytest.skip("torch was not asked for")


def pytest_terminal_summary(terminalreporter, config):
    ran, failed, left = Counter(), Counter(), Counter()
    for outcome, reports in terminalreporter.stats.items():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "backend" and outcome in ("passed", "failed", "xfailed", "error"):
                    ran[value] += 1
                    failed[value] += outcome in ("failed", "error")
                elif name == "backend" and outcome == "skipped":
                    left[value] += 1
    if not ran and not left:
        return
    terminalreporter.section("array libraries")
    for backend in BACKENDS:
        if not chosen(config, backend):
            reason = "not asked for"
        elif not (reason := absence(backend)):
            skipped = f", {left[backend.id]} skipped" if left[backend.id] else ""
            count = f"{ran[backend.id]} run, {failed[backend.id]} failed{skipped}"
            terminalreporter.line(f"{backend.id:<30} {count}")
            continue
        terminalreporter.line(f"{backend.id:<30} not run: {reason}")
