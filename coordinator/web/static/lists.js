// A list whose elements stay the same elements while they change: focus, selection and scroll survive every update.

/**
 * Makes `parent`'s children follow `items`. `make(item)` builds an element once, `update(element, item)` refreshes it.
 * `empty`, when given, is shown instead of nothing.
 */
export function follow(parent, items, keyOf, make, update, empty = "") {
  const known = (parent.known ??= new Map());
  const wanted = items.map(keyOf);
  const keep = new Set(wanted);
  for (const [key, element] of known) {
    if (keep.has(key)) continue;
    element.remove();
    known.delete(key);
  }
  let place = parent.firstElementChild;
  items.forEach((item, i) => {
    let element = known.get(wanted[i]);
    if (!element) {
      element = make(item);
      known.set(wanted[i], element);
    }
    update(element, item);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  });
  showEmpty(parent, items.length ? "" : empty);
}

function showEmpty(parent, text) {
  if (!text) {
    parent.none?.remove();
    return;
  }
  if (!parent.none) {
    parent.none = document.createElement("li");
    parent.none.className = "none";
  }
  say(parent.none, text);
  if (!parent.none.isConnected) parent.append(parent.none);
}

/** Sets text only when it differs, so that nothing flickers or is read out again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
