// Who has put this page into a frame, and what the two say to each other.

/**
 * Returns the origin of the page around this one, if it is one of those `listed`; undefined when the
 * browser does not tell, and null when it is another. Pure.
 */
export function parentOrigin({ ancestors, referrer, listed }) {
  const told = ancestors?.[0] ?? (URL.canParse(referrer) ? new URL(referrer).origin : undefined);
  if (told !== undefined) return listed.includes(told) ? told : null;
  return listed.length === 1 ? listed[0] : undefined;
}

/** Speaks with the page around this one, as far as its origin is listed. */
export class Parent {
  #origin;
  #waiting = [];

  /** `disconnect()` is called when that page asks for it. */
  constructor(listed, disconnect) {
    const { ancestorOrigins: ancestors } = location;
    const framed = parent !== window;
    this.#origin = framed ? parentOrigin({ ancestors, referrer: document.referrer, listed }) : null;
    this.refused = framed && this.#origin === null;
    addEventListener("message", ({ origin, source, data }) => {
      if (!framed || source !== parent || !listed.includes(origin)) return;
      if (this.#origin === undefined) this.#know(origin);
      if (origin === this.#origin && data?.type === "disconnect") disconnect();
    });
  }

  /** Tells of `ready`, `ended` or `error`; until it is known to whom, that waits. */
  tell(type, more) {
    const message = { type, ...more };
    if (this.#origin) parent.postMessage(message, this.#origin);
    else if (this.#origin === undefined) this.#waiting.push(message);
  }

  #know(origin) {
    this.#origin = origin;
    for (const message of this.#waiting.splice(0)) parent.postMessage(message, origin);
  }
}
