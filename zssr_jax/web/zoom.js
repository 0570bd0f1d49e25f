// Zoom of the pictures that the page shows, and what Gradio leaves to do.
const views = new Map();  // zoom and place by the picture's key

function view(box) {
  const key = box.dataset.key;
  if (!views.has(key)) views.set(key, {zoom: 1, x: 0, y: 0, at: null});
  return views.get(key);
}

// Shows a part of the picture: `zoom` times as large as the whole, its corner
// at (x, y) in pixels of the screen, never beyond its own edges.
function place(box, zoom, x, y) {
  const {clientWidth: w, clientHeight: h} = box, v = view(box);
  const most = Math.max(16 * box.dataset.width / Math.max(w, 1), 1);
  v.zoom = Math.min(Math.max(zoom, 1), most);
  v.x = Math.min(Math.max(x, w - w * v.zoom), 0);
  v.y = Math.min(Math.max(y, h - h * v.zoom), 0);
  const size = v.zoom * w / box.dataset.width;  // of a pixel of the picture
  for (const image of box.querySelectorAll('img')) {
    image.style.transform = `translate(${v.x}px, ${v.y}px) scale(${v.zoom})`;
    image.classList.toggle('sharp', size * devicePixelRatio >= 2);
  }
  box.classList.toggle('near', v.zoom > 1);
  const output = box.parentElement.querySelector('output');
  const words = `${Math.round(100 * size * devicePixelRatio)} %`;
  if (output.textContent !== words) output.textContent = words;
}

// Zooms by a factor and keeps a point of the screen where it is.
function zoomBy(box, factor, clientX, clientY) {
  const r = box.getBoundingClientRect(), v = view(box);
  const px = (clientX ?? r.left + r.width / 2) - r.left;
  const py = (clientY ?? r.top + r.height / 2) - r.top;
  const zoom = v.zoom;
  place(box, zoom * factor, v.x, v.y);  // for the limits
  const real = view(box).zoom / zoom;
  place(box, zoom * real, px - (px - v.x) * real, py - (py - v.y) * real);
}

function onButton(button) {
  const box = button.closest('figure').querySelector('.compare'), v = view(box);
  const one = box.dataset.width / box.clientWidth / devicePixelRatio;
  const factor = {
    in: 1.5, out: 1 / 1.5, fit: 1 / v.zoom, one: one / v.zoom,
  }[button.dataset.zoom];
  zoomBy(box, factor);
}

function isNearLine(box, event) {
  const line = box.querySelector('.handle');
  if (!line) return false;
  const r = line.getBoundingClientRect();
  return Math.abs(event.clientX - (r.left + r.width / 2)) < 24;
}

let pan = null;  // of a picture that is dragged: the box and where it began
const fingers = new Map();
let spread = 0;  // of two fingers

document.addEventListener('pointerdown', event => {
  const box = event.target.closest?.('.compare');
  if (!box || event.button !== 0) return;
  if (event.pointerType === 'touch') fingers.set(event.pointerId, event);
  if (fingers.size === 2) {
    const [a, b] = fingers.values();
    spread = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
    pan = null;
    event.stopPropagation();
    return;
  }
  const v = view(box);
  // The line is moved by a drag anywhere, or at the line where a drag moves
  // the picture.
  if (v.zoom === 1 || isNearLine(box, event)) return;
  box.setPointerCapture(event.pointerId);
  box.querySelector('input')?.focus({preventScroll: true, focusVisible: false});
  pan = {box, x: v.x - event.clientX, y: v.y - event.clientY};
  event.stopPropagation();
}, true);

document.addEventListener('pointermove', event => {
  if (fingers.has(event.pointerId)) fingers.set(event.pointerId, event);
  const box = event.target.closest?.('.compare');
  if (fingers.size === 2 && box) {
    const [a, b] = fingers.values();
    const now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
    zoomBy(box, now / Math.max(spread, 1),
      (a.clientX + b.clientX) / 2, (a.clientY + b.clientY) / 2);
    spread = now;
    event.stopPropagation();
  } else if (pan) {
    place(pan.box, view(pan.box).zoom,
      pan.x + event.clientX, pan.y + event.clientY);
    event.stopPropagation();
  }
}, true);

for (const kind of ['pointerup', 'pointercancel']) {
  document.addEventListener(kind, event => {
    const moved = pan || fingers.size === 2;
    fingers.delete(event.pointerId);
    pan = null;
    if (moved) event.stopPropagation();
  }, true);
}

// A pinch on a touchpad comes as a wheel with Ctrl; the wheel alone scrolls
// the page.
document.addEventListener('wheel', event => {
  const box = event.target.closest?.('.compare');
  if (!box || !event.ctrlKey) return;
  event.preventDefault();
  zoomBy(box, Math.exp(-event.deltaY / 300), event.clientX, event.clientY);
}, {passive: false});

document.addEventListener('click', event => {
  const button = event.target.closest?.('[data-zoom]');
  if (button) onButton(button);
});

// Beside the arrow keys, which move the line: + and - zoom, and the arrows
// with Shift move the picture.
document.addEventListener('keydown', event => {
  const box = event.target.closest?.('.compare');
  if (!box || event.ctrlKey || event.metaKey || event.altKey) return;
  const v = view(box), step = 40;
  const way = {ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1],
    ArrowDown: [0, -1]}[event.key];
  if (event.key === '+' || event.key === '-') {
    zoomBy(box, event.key === '+' ? 1.5 : 1 / 1.5);
  } else if (event.shiftKey && way) {
    place(box, v.zoom, v.x + step * way[0], v.y + step * way[1]);
  } else {
    return;
  }
  event.preventDefault();
}, true);

addEventListener('resize', () => {
  for (const box of document.querySelectorAll('.compare')) {
    const v = view(box);
    place(box, v.zoom, v.x, v.y);
  }
});

// Gradio puts new pictures in the place of old ones.
function begin(box) {
  if (box.dataset.begun) return;
  box.dataset.begun = '1';
  const input = box.querySelector('input'), v = view(box);
  if (input) {
    if (v.at !== null) input.value = v.at;
    compare(box);
    new MutationObserver(() => { v.at = input.value; })
      .observe(box, {attributes: true, attributeFilter: ['style']});
  }
  place(box, v.zoom, v.x, v.y);
}

function tidy() {
  document.querySelectorAll('.compare').forEach(begin);
  // What is said is read out; the rest is looked at.
  const said = document.getElementById('said');
  if (said && !said.hasAttribute('role')) said.setAttribute('role', 'status');
  if (!document.documentElement.lang) document.documentElement.lang = 'en';
}
new MutationObserver(tidy).observe(document, {childList: true, subtree: true});
