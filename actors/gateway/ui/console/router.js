// Addresses: every view and filter is one, behind the `#`, and none holds a token.

/** Tells `change` when another view or filter is asked for. */
export const router = new EventTarget();

/** Returns the present view, the name of what it shows, and its filters. */
export function here() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [view = "", id] = path.split("/");
  return { view: view || "sessions", id: id && decode(id), query: new URLSearchParams(query) };
}

/** Returns the address of a view; filters without a value are left out. */
export function address(view, id, filters = {}) {
  const given = Object.entries(filters).filter(([, value]) => value);
  const query = new URLSearchParams(given).toString();
  const path = id === undefined ? view : `${view}/${encodeURIComponent(id)}`;
  return `#/${path}${query ? `?${query}` : ""}`;
}

/** Goes to an address; Back comes back. */
export function go(where) {
  if (location.hash !== where) location.hash = where;
}

/** Changes filters of the present view; with `quietly` Back does not stop at each of them. */
export function filter(changes, quietly) {
  const { view, id, query } = here();
  const where = address(view, id, { ...Object.fromEntries(query), ...changes });
  if (!quietly) return go(where);
  history.replaceState(null, "", where);
  router.dispatchEvent(new Event("change"));
}

addEventListener("hashchange", () => router.dispatchEvent(new Event("change")));

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
