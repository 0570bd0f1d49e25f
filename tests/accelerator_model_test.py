"""What benchmarks/accelerator_model.py reads off a compiled program."""

import jax
import pytest

from zssr_jax import presets, super_resolution

# As XLA writes it, with shorter lines: a loop of a hundred steps.
PROGRAM = """HloModule jit_chunk, is_scheduled=true

%fused (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %two = f32[4]{0} add(%p, %p)
}

%turn (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %a = f32[4]{0} fusion(%p), kind=kLoop, calls=%fused
}

%measure (p: f32[4]) -> (f32[4], s32[]) {
  %p = f32[4]{0} parameter(0)
  %a = f32[4]{0} fusion(%p), kind=kLoop, calls=%fused
  %b = f32[4]{0} fusion(%a), kind=kLoop, calls=%fused
  %zero = s32[] constant(0)
  ROOT %both = (f32[4]{0}, s32[]) tuple(%b, %zero)
}

%draw (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %a = f32[4]{0} copy(%p)
}

%few (p: f32[4]) -> pred[] {
  %p = f32[4]{0} parameter(0)
  ROOT %less = pred[] fusion(%p), kind=kLoop, calls=%fused
}

%idle (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %same = f32[4]{0} copy(%p)
}

%step (p: f32[4], k: s32[]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  %k = s32[] parameter(1)
  %one = f32[4]{0} conditional(%k, %p, %p), branch_computations={%turn, %turn}
  %noise = f32[4]{0} while(%one), condition=%few, body=%draw, \
backend_config={"known_trip_count":{"n":"4"}}
  %conv = (f32[4]{0}, u8[0]{0}) custom-call(%noise, %noise), \
custom_call_target="__cudnn$convForward"
  %out = f32[4]{0} get-tuple-element(%conv), index=0
  ROOT %end = (f32[4]{0}, s32[]) conditional(%k, %out, %out), \
true_computation=%measure, false_computation=%idle
}

%body (p: f32[4], k: s32[]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  %k = s32[] parameter(1)
  ROOT %end = f32[4]{0} conditional(%k, %p, %p), \
branch_computations={%idle, %step}
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  %copied = f32[4]{0} copy(%p)
  ROOT %done = f32[4]{0} while(%copied), condition=%few, body=%body, \
backend_config={"known_trip_count":{"n":"100"},"known_init_step":{}}
}
"""


@pytest.fixture(scope='module')
def model(load_script):
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('JAX_SKIP_CUDA_CONSTRAINTS_CHECK', '1')
    return load_script('benchmarks/accelerator_model.py')


def test_a_step_of_a_compiled_program_is_counted(model):
  program = model.instructions(PROGRAM)
  (loop,) = model.loops(program, 100)
  step = model.count(program, loop.parts[0])
  # Turned, drawn in four, convolved, not measured; two branches in a third.
  assert step == {'kernels': 1 + 4 + 1 + 1, 'branches': 3}
  assert model.count(program, 'ENTRY')['kernels'] == 1 + 100 * 7


def test_a_step_without_a_compiler_has_its_convolutions(model, monkeypatch):
  monkeypatch.setattr(model, 'chip', lambda: None)
  job = next(super_resolution.run_image(image(), 2, config=small()))
  found = model.launches(job)
  # Three layers: forward, two gradients less one, the error's forward.
  assert found == (3 + 2 * 3 - 1 + 3, 0, False)


def image():
  return jax.numpy.full((40, 40, 3), 0.5)


def small():
  return presets.Config(model='pixel_shuffle', depth=3, width=32)


def test_a_step_takes_as_long_as_what_is_slowest(model):
  launches = model.Launches(kernels=100, branches=2, compiled=True)
  work = model.Work(112, 1e9, 1e6, 1e9, launches, 0.1)
  assert work.least(1e12, 1e12) == pytest.approx(1e-3)
  assert work.least(1e15, 1e9) == pytest.approx(1e-3)
  # Launches hide behind products, round trips do not.
  assert work.likely(1e12, 1e12, 5e-6, 1e-5) == pytest.approx(1.02e-3)
  assert work.likely(1e15, 1e12, 5e-6, 1e-5) == pytest.approx(0.52e-3)


def test_a_report_becomes_a_table(model, monkeypatch):
  launches = model.Launches(kernels=100, branches=2, compiled=True)
  work = model.Work(112, 67e9, 1e6, 0.0, launches, 0.25)
  monkeypatch.setattr(model, 'work_of', lambda name: work)
  found = model.report(3e-6, 15e-6)
  lines = model.table(found).splitlines()
  assert len(lines) == 2 + 2 + 1 + 2 + 6
  cells = [cell.strip() for cell in lines[7].strip('|').split('|')]
  # A millisecond of products, which hides the launches, and two round trips.
  assert cells == [
    'H100 float32',
    '1.000, 1.000',
    '1.030, 1.030',
    '3.00, 3.09',
    '0.35, 0.35',
    '300, 309',
  ]
