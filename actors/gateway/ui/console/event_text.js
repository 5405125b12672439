// Reads the text of a stream of events. Nothing here touches the page.

// No row is so long: what does not end is no event.
const LONGEST = 1024 * 1024;

export class EventText {
  #rest = "";

  /**
   * Yields the events that `chunk` completes, as `{name, data, id}`. Comments are no events.
   *
   * Throws an error at what is none.
   */
  *read(chunk) {
    const text = this.#rest + chunk;
    let begin = 0;
    for (let end; (end = text.indexOf("\n\n", begin)) >= 0; begin = end + 2) {
      const event = parse(text.slice(begin, end));
      if (event.name) yield event;
    }
    this.#rest = text.slice(begin);
    if (this.#rest.length > LONGEST) throw new RangeError("an event is too long");
  }
}

function parse(block) {
  const fields = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
  }
  const { event: name, data, id } = fields;
  return { name, id, data: name && data && JSON.parse(data) };
}
