// Stands between a page and its streams of events: adds events of its own, cuts the streams off,
// and counts what the page asks for.

/** Has every stream of events that `page` opens from its next visit on go through the script. */
export async function holdEvents(page) {
  await page.addInitScript(() => {
    const open = new Set();
    const fetched = window.fetch;
    window.asked = [];
    window.fetch = async (address, options) => {
      const { pathname } = new URL(address, location.href);
      window.asked.push(`${options?.method ?? "GET"} ${pathname}`);
      const response = await fetched(address, options);
      if (!pathname.endsWith("/1.0/events") || !response.ok) return response;
      const transform = (chunk, controller) => window.muted || controller.enqueue(chunk);
      let own;
      const start = (controller) => open.add((own = controller));
      const through = new TransformStream({ start, transform });
      response.body.pipeTo(through.writable).catch(() => {}).then(() => open.delete(own));
      return new Response(through.readable, { headers: response.headers });
    };
    window.addEvents = (events) => {
      const write = ([name, data]) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
      const text = events.map(write);
      for (const controller of open) controller.enqueue(new TextEncoder().encode(text.join("")));
    };
    window.openStreams = () => open.size;
    window.cutEvents = () => {
      for (const controller of open) controller.error(new TypeError("cut off"));
      open.clear();
    };
  });
}

/** Tells the page `events`, each a name and a row, as if the gateway did. */
export async function addEvents(page, events) {
  await page.evaluate((events) => window.addEvents(events), events);
}

/** Keeps what the gateway itself tells from the page, as long as `yes` was said last. */
export async function muteEvents(page, yes) {
  await page.evaluate((yes) => (window.muted = yes), yes);
}

/** Ends the streams of events of the page. */
export async function cutEvents(page) {
  await page.evaluate(() => window.cutEvents());
}

/** Returns what the page has asked for since the last call, each as a method and a path. */
export async function askedSince(page) {
  return page.evaluate(() => window.asked.splice(0));
}
