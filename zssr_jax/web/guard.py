"""Who may ask the server for what: around all that Gradio serves."""

from __future__ import annotations

import base64
import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

# All that the page asks for. Gradio would also serve files by their paths,
# fetch addresses for a client, and describe itself.
_SERVED = re.compile(
  r'/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/assets/.+|/static/.+'
  r'|/svelte/.+|/made/[^/]+/[^/]+'
  r'|/gradio_api/(upload|upload_progress|queue/join|queue/data|cancel|reset/?'
  r'|heartbeat/[^/]+|startup-events|info/?|app_id/?|user/?|login_check/?)'
)
# The page may load nothing from elsewhere, whatever a library would like.
# Gradio has scripts within its page, and evaluates the templates of its HTML.
_POLICY = (
  "default-src 'self'; img-src 'self' data: blob:; font-src 'self' data:;"
  " style-src 'self' 'unsafe-inline';"
  " script-src 'self' 'unsafe-inline' 'unsafe-eval'; connect-src 'self';"
  " worker-src 'self' blob:; object-src 'none'; base-uri 'self';"
  " form-action 'self'; frame-ancestors 'none'"
)
_CHALLENGE = b'Basic realm="zssr", charset="UTF-8"'
_HEADERS = {
  b'content-security-policy': _POLICY.encode(),
  b'referrer-policy': b'no-referrer',
  b'x-content-type-options': b'nosniff',
  b'cross-origin-opener-policy': b'same-origin',
  b'cross-origin-resource-policy': b'same-origin',
}


def is_loopback(host: str) -> bool:
  """Whether a host, a name or an address, is this machine alone."""
  if host == 'localhost':
    return True
  try:
    return ipaddress.ip_address(host).is_loopback
  except ValueError:
    return False


class Guard:
  """An ASGI application around another, which sees only what may pass.

  Refused are paths that the page does not need, requests that another site's
  page makes (by its origin, or by a name that it has pointed at this machine)
  and, where there is a password, those without it.
  """

  def __init__(self, inner: Any, *, local: bool, login: tuple[str, str] | None):
    """Wraps an application.

    Args:
      inner: the application.
      local: whether only this machine is listened to; then the name by which
        it is asked must be this machine's, too.
      login: user and password, or None.
    """
    self._inner, self._local = inner, local
    self._login = None
    if login is not None:
      self._login = base64.b64encode(':'.join(login).encode())

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a request, or lets it pass."""
    if scope['type'] == 'lifespan':
      await self._inner(scope, receive, send)
      return
    if scope['type'] != 'http':  # nothing here talks by web sockets
      return
    status, words = self._refusal(scope)

    async def with_headers(message: Any) -> None:
      if message['type'] == 'http.response.start':
        kept = [
          (name, value)
          for name, value in message.get('headers', [])
          if name.lower() not in _HEADERS
        ]
        if scope['path'].startswith('/made/'):
          kept.append((b'cache-control', b'no-store'))
        message['headers'] = [*kept, *_HEADERS.items()]
      await send(message)

    if status is None:
      await self._inner(scope, receive, with_headers)
      return
    headers = [(b'content-type', b'text/plain; charset=utf-8')]
    if status == 401:
      headers.append((b'www-authenticate', _CHALLENGE))
    await with_headers(
      {'type': 'http.response.start', 'status': status, 'headers': headers}
    )
    await send({'type': 'http.response.body', 'body': words.encode()})

  def _refusal(self, scope: Scope) -> tuple[int | None, str]:
    """Returns the status and words of a refusal; None: may pass."""
    headers = dict(scope['headers'])
    host = headers.get(b'host', b'').decode('latin-1')
    if self._local and not is_loopback(_name(host)):
      return 403, 'asked by a name that is not of this machine'
    origin = headers.get(b'origin')
    if origin is not None and _host(origin.decode('latin-1')) != host:
      return 403, 'asked by the page of another site'
    if self._login is not None:
      kind, _, word = headers.get(b'authorization', b'').partition(b' ')
      right = hmac.compare_digest(word.strip(), self._login)
      if kind.lower() != b'basic' or not right:
        return 401, 'needs user and password'
    if not _SERVED.fullmatch(scope['path']):
      return 404, 'not here'
    return None, ''


def _name(host: str) -> str:
  """Returns the name in a Host header, without its port."""
  try:
    return urlsplit(f'//{host}').hostname or ''
  except ValueError:
    return ''


def _host(origin: str) -> str:
  """Returns name and port of an origin; '' for one that is no address."""
  try:
    return urlsplit(origin).netloc
  except ValueError:
    return ''
