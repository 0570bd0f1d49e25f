'use strict';
// Makes two pictures above each other follow pointer and keys.
function compare(box) {
  const input = box.querySelector('input');
  let start = null;  // of a touch that may still turn out to be a scroll

  function show() {
    const share = Math.round(input.value);
    box.style.setProperty('--at', `${input.value}%`);
    input.setAttribute(
      'aria-valuetext', `${share} % bicubic, ${100 - share} % ours`);
  }

  function follow(event) {
    const {left, width} = box.getBoundingClientRect();
    input.value = 100 * (event.clientX - left) / width;
    show();
  }

  // The whole picture is the handle; the input itself takes only keys, as
  // browsers differ in whether a finger may grab it anywhere.
  box.addEventListener('pointerdown', event => {
    if (event.button !== 0) return;
    box.setPointerCapture(event.pointerId);
    input.focus({preventScroll: true, focusVisible: false});
    start = event.pointerType === 'touch' ? event : null;
    if (!start) follow(event);
  });
  box.addEventListener('pointermove', event => {
    if (!box.hasPointerCapture(event.pointerId)) return;
    if (start) {
      const across = Math.abs(event.clientX - start.clientX);
      const along = Math.abs(event.clientY - start.clientY);
      if (across <= along) return;
      start = null;
    }
    follow(event);
  });
  // After a scroll there is no pointerup, but a pointercancel.
  box.addEventListener('pointerup', event => {
    if (box.hasPointerCapture(event.pointerId)) follow(event);
  });
  // Keeps the focus on the input and the picture from being dragged away.
  box.addEventListener('mousedown', event => event.preventDefault());
  input.addEventListener('input', show);
  show();  // browsers restore the value when a page is loaded again
}
document.querySelectorAll('.compare').forEach(compare);
