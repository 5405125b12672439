// Opens a page in a real browser and says how its connection is secured.
//
//   node key_exchange.mjs <address>
//
// Prints the protocol and the key exchange of the page's connection as one JSON object, as the
// security details of the developer tools name them; when a step fails, says so on stderr and exits
// with 1.

import process from "node:process";

import { withPage } from "./page.mjs";

const [address] = process.argv.slice(2);

await withPage(async (page) => {
  const tools = await page.context().newCDPSession(page);
  await tools.send("Network.enable");
  const received = new Promise((resolve) => tools.once("Network.responseReceived", resolve));
  await page.goto(address, { waitUntil: "domcontentloaded" });
  const { protocol, keyExchangeGroup } = (await received).response.securityDetails;
  return { protocol, keyExchangeGroup };
});
