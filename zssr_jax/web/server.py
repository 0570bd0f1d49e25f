"""`zssr app`: parses its arguments, and serves the page until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import math
import os
import shutil
import socket
import tempfile
import webbrowser
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NoReturn

import filelock

from zssr_jax.command_line import app
from zssr_jax.errors import InputError
from zssr_jax.web import guard

_PORTS = range(7860, 7960)
_PREFIX = 'zssr_app_'
_LOCK = '.lock'


class _Parser(argparse.ArgumentParser):
  """Says in one line what is wrong."""

  def error(self, message: str) -> NoReturn:
    raise InputError(f'{message}; zssr app --help lists the flags')


def _megapixels(text: str) -> float:
  value = float(text)
  if not 0 < value <= 178:
    raise argparse.ArgumentTypeError(f'{text}: must be above 0, at most 178')
  return value


def _port(text: str) -> int:
  value = int(text)
  if not 1 <= value <= 65535:
    raise argparse.ArgumentTypeError(f'{text}: must be from 1 to 65535')
  return value


def _parse(argv: list[str]) -> argparse.Namespace:
  """Reads the arguments.

  Raises:
    InputError: for what is wrong with them.
  """
  parser = _Parser(
    prog='zssr app',
    description=(
      'Serves a page, on this machine alone, that enlarges the photos dropped'
      ' on it. Ctrl-C ends it; nothing is kept.'
    ),
    allow_abbrev=False,
  )
  parser.add_argument(
    '--host',
    default='127.0.0.1',
    help='address to listen at; another than this machine needs --user and'
    ' --password (default: 127.0.0.1)',
  )
  parser.add_argument(
    '--port', type=_port, help='default: the first free one from 7860 on'
  )
  parser.add_argument('--user', help='asked for by the browser')
  parser.add_argument('--password', help='asked for by the browser')
  parser.add_argument(
    '--max-megapixels',
    type=_megapixels,
    default=16.0,
    metavar='N',
    help='largest photo that is taken (default: 16)',
  )
  parser.add_argument(
    '--no-browser', action='store_true', help='open no browser'
  )
  options = parser.parse_args(argv)
  if bool(options.user) != bool(options.password):
    raise InputError('--user and --password: pass both, or neither')
  if ':' in (options.user or ''):
    raise InputError('--user: must not hold a colon')
  if not guard.is_loopback(options.host) and not options.user:
    raise InputError(
      f'--host={options.host}: others could use the page; pass --user and'
      ' --password, too, or leave --host out'
    )
  return options


def _listen(host: str, port: int | None) -> socket.socket:
  """Returns a socket bound to a port, the first free one if none is named.

  Raises:
    InputError: when that cannot be had.
  """
  error: OSError | None = None
  for number in (port,) if port else (*_PORTS, 0):
    try:
      family, kind, protocol, _, address = socket.getaddrinfo(
        host, number, type=socket.SOCK_STREAM
      )[0]
      found = socket.socket(family, kind, protocol)
    except OSError as failure:
      raise InputError(f'--host={host}: {failure.strerror}') from None
    try:
      if os.name == 'posix':  # elsewhere it would share a port in use
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
      found.bind(address)
      # Two servers may bind one port; only one of them can listen.
      found.listen(128)
      return found
    except OSError as failure:
      found.close()
      error = failure
  assert error is not None
  raise InputError(f'--host={host}, --port={port}: {error.strerror}')


@contextlib.contextmanager
def _temporary() -> Iterator[Path]:
  """Makes a folder that is deleted in the end.

  One that was left behind by a server that was killed is deleted, too: its
  lock is free.
  """
  for old in Path(tempfile.gettempdir()).glob(f'{_PREFIX}*'):
    with contextlib.suppress(OSError, filelock.Timeout):
      if old.is_symlink() or not (old / _LOCK).is_file():
        continue
      with filelock.FileLock(old / _LOCK, timeout=0):
        shutil.rmtree(old, ignore_errors=True)
  root = Path(tempfile.mkdtemp(prefix=_PREFIX))
  lock = filelock.FileLock(root / _LOCK, timeout=0)
  try:
    with lock:
      yield root
  finally:
    shutil.rmtree(root, ignore_errors=True)


def _address(bound: socket.socket) -> str:
  host, port = bound.getsockname()[:2]
  return f'http://[{host}]:{port}' if ':' in host else f'http://{host}:{port}'


def make_app(
  root: Path,
  *,
  max_megapixels: float,
  local: bool = True,
  login: tuple[str, str] | None = None,
) -> Any:
  """Makes the application; Gradio must be installed.

  Args:
    root: an empty folder for all temporary files. It is deleted when the
      server shuts down.
    max_megapixels: of a photo.
    local: see `guard.Guard`.
    login: see `guard.Guard`.

  Returns:
    An ASGI application.
  """
  # Before Gradio is imported: it reports to its makers when it is, and keeps
  # files where these say.
  os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
  os.environ['HF_HUB_OFFLINE'] = '1'
  os.environ['GRADIO_TEMP_DIR'] = str(root / 'uploads')
  os.environ['GRADIO_EXAMPLES_CACHE'] = str(root / 'examples')
  # Here, since a wrong flag need not wait for JAX and Gradio.
  import fastapi
  import gradio
  from fastapi.responses import FileResponse, PlainTextResponse

  from zssr_jax import compile_cache
  from zssr_jax.web import page, work

  compile_cache.use_compile_cache()
  sessions = work.Sessions(root, max_megapixels * 1e6)

  @contextlib.asynccontextmanager
  async def lifespan(_: fastapi.FastAPI) -> AsyncIterator[None]:
    yield
    # Here, since a signal may leave no time for more.
    sessions.close_all()
    shutil.rmtree(root, ignore_errors=True)

  outer = fastapi.FastAPI(
    lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
  )

  async def made(request: Any) -> Any:
    path = sessions.shelf.get(request.path_params['token'])
    if path is None or not path.is_file():
      return PlainTextResponse('not here', 404)
    save = 'save' in request.query_params
    return FileResponse(path, filename=path.name if save else None)

  outer.add_route('/made/{token}/{name}', made)
  blocks = page.build(sessions, max_megapixels)
  gradio.mount_gradio_app(
    outer,
    blocks,
    path='/',
    footer_links=[],
    run_history=False,
    ssr_mode=False,
    pwa=False,
    mcp_server=False,
    show_error=False,
    # 16 bits of four bands, and what else a file holds.
    max_file_size=math.ceil(max_megapixels * 8e6) + (16 << 20),
    theme=page.theme(),
    head=page.head(),
  )
  # Only with this does Gradio check that a file which a browser names was
  # uploaded.
  blocks.has_launched = True
  return guard.Guard(outer, local=local, login=login)


def _serve(options: argparse.Namespace) -> int:
  """Serves until a signal comes."""
  import uvicorn

  class Server(uvicorn.Server):
    """Tells where it is once it can be asked."""

    async def startup(self, sockets: Any = None) -> None:
      await super().startup(sockets)
      if self.started:
        print(f'{address}  (Ctrl-C ends it)', flush=True)
        if not options.no_browser:
          webbrowser.open(address)

  with (
    contextlib.closing(_listen(options.host, options.port)) as bound,
    _temporary() as root,
  ):
    address = _address(bound)
    application = make_app(
      root,
      max_megapixels=options.max_megapixels,
      local=guard.is_loopback(options.host),
      login=(options.user, options.password) if options.user else None,
    )
    server = Server(
      uvicorn.Config(
        application,
        log_level='warning',
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,  # pages keep a connection open
      )
    )
    with contextlib.suppress(KeyboardInterrupt):
      server.run(sockets=[bound])
  return 0


def serve(argv: list[str]) -> int:
  """Serves the page until Ctrl-C, and prints its address.

  It wants the main thread, where signals come.

  Args:
    argv: the arguments behind `zssr app`.

  Returns:
    The exit code: 0, or 2 for arguments that are wrong, a port that is taken,
    or where Gradio is not installed; one line on stderr says which.
  """
  try:
    options = _parse(argv)
    if importlib.util.find_spec('gradio') is None:
      raise InputError("the page needs Gradio: pip install 'zssr_jax[app]'")
    return _serve(options)
  except InputError as error:
    app.complain(error)
    return 2
  except SystemExit as end:  # of --help
    return int(end.code or 0)
