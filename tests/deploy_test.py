"""The files that start zssr_jax on clusters: that they say what is there."""

import pathlib
import re
import shlex
import subprocess

import pytest
import yaml
from absl import flags

from zssr_jax.command_line import arguments, evaluate, zssr

ROOT = pathlib.Path(__file__).parents[1]
FOLDER = ROOT / 'docs' / 'cluster'


def steps():
  """The instructions of the Dockerfile, a pair of word and rest each."""
  text = (ROOT / 'Dockerfile').read_text().replace('\\\n', ' ')
  lines = [line for line in text.splitlines() if line and line[0] != '#']
  return [line.split(maxsplit=1) for line in lines]


def test_what_the_image_copies_is_there_and_not_ignored():
  ignored = (ROOT / '.dockerignore').read_text().splitlines()
  sources = [
    source
    for word, rest in steps()
    if word == 'COPY'
    for source in rest.split()[:-1]
  ]
  assert 'zssr_jax' in sources and 'requirements.lock' in sources
  for source in sources:
    assert (ROOT / source).exists()
    assert f'!{source}' in ignored


def test_the_image_holds_what_the_package_is_made_of():
  sources = {
    s for word, rest in steps() if word == 'COPY' for s in rest.split()
  }
  project = (ROOT / 'pyproject.toml').read_text()
  for name in re.findall(r'(?:readme = |license-files = \[)"(.*?)"', project):
    assert name in sources
  runs = [rest for word, rest in steps() if word == 'RUN']
  assert any('[cluster,' in run for run in runs)
  assert any('ray[default]' in run for run in runs)  # KubeRay's way in
  names = set(
    re.findall(r'^([\w-]+)==', (ROOT / 'requirements.lock').read_text(), re.M)
  )
  assert {'ray', 'jax', 'pillow_heif'} <= names


def words_of(command):
  """The flags of a command line, its variables filled in."""
  command = re.sub(r'\$\w+/\$\w+', '0/8', command)
  return shlex.split(re.sub(r'\$\{?\w+\}?', 'x', command))


@pytest.mark.parametrize('name', ['slurm_array.sh', 'slurm_ray.sh'])
def test_scripts_are_sound_and_their_flags_exist(name):
  text = (FOLDER / name).read_text()
  subprocess.run(['bash', '-n', FOLDER / name], check=True)
  joined = text.replace('\\\n', ' ')
  commands = re.findall(r'^\s*((?:zssr|zssr-eval) .*)$', joined, re.M)
  commands += re.findall(r'-w "\$head" +((?:zssr|zssr-eval) .*)$', joined, re.M)
  assert commands
  for command in commands:
    check_flags(command)


def test_an_array_has_as_many_tasks_as_parts():
  text = (FOLDER / 'slurm_array.sh').read_text()
  (last,) = re.findall(r'--array=0-(\d+)', text)
  (parts,) = re.findall(r'^parts=(\d+)', text, re.M)
  assert int(parts) == int(last) + 1


def check_flags(command):
  program, *words = words_of(command)
  values = flags.FlagValues()
  define = (
    evaluate.define_flags if program == 'zssr-eval' else zssr.define_flags
  )
  define(values)
  known = [*values, 'config']
  for word in words:
    if word.startswith('--'):
      assert word[2:].partition('=')[0].replace('-', '_') in known, word
  if shard := re.search(r'--shard=(\S+)', ' '.join(words)):
    values.set_gnu_getopt(True)
    values(['x', f'--shard={shard[1]}'])
    assert arguments.read_parallel(values) == arguments.Shard(0, 8)


def test_the_job_for_kubernetes_is_whole():
  job = yaml.safe_load((FOLDER / 'rayjob.yaml').read_text())
  assert job['kind'] == 'RayJob'
  check_flags(job['spec']['entrypoint'])
  cluster = job['spec']['rayClusterSpec']
  (workers,) = cluster['workerGroupSpecs']
  assert workers['minReplicas'] <= workers['replicas'] <= workers['maxReplicas']
  for group in (cluster['headGroupSpec'], workers):
    (container,) = group['template']['spec']['containers']
    mounts = {mount['name'] for mount in container['volumeMounts']}
    volumes = {
      volume['name'] for volume in group['template']['spec']['volumes']
    }
    assert mounts == volumes
    assert container['workingDir'] == '/work'
