// Holds that browsers take a certificate once its authority is trusted, and not before: no exception is
// made here.
//
//   node trusted.mjs <certificate of the authority> <certificate> <key>
//
// The certificate is for `localhost`. Prints an object of what Chromium and Firefox said; when one of
// them takes what it should not, or does not take what it should, says so on stderr and exits with 1.
// CHROMIUM and FIREFOX name other browsers than those of Debian.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:https";
import os from "node:os";
import path from "node:path";
import process from "node:process";

import { chromium } from "playwright-core";
import puppeteer from "puppeteer-core";

const PATIENCE_MS = 40_000;
const PAGE = "taken";

const [authority, certificate, key] = process.argv.slice(2);
const home = mkdtempSync(path.join(os.tmpdir(), "stream-trusted-"));
const said = {};

try {
  const server = createServer({ cert: readFileSync(certificate), key: readFileSync(key),
    minVersion: "TLSv1.3" }, (_, response) => response.end(PAGE));
  await new Promise((done) => server.listen(0, "localhost", done));
  const address = `https://localhost:${server.address().port}/`;
  for (const [name, ask] of Object.entries({ chromium: askChromium, firefox: askFirefox })) {
    const before = await ask(address, folder(`${name}-before`, false));
    const then = await ask(address, folder(name, true));
    said[name] = { before, then };
    if (!/CERT_AUTHORITY_INVALID|UNKNOWN_ISSUER/.test(before)) {
      throw new Error(`${name} does not refuse what nobody vouches for: ${before}`);
    }
    if (then !== PAGE) throw new Error(`${name} does not take it: ${then}`);
  }
  console.log(JSON.stringify(said));
} catch (error) {
  console.error(error.message.split("\n")[0]);
  process.exitCode = 1;
} finally {
  rmSync(home, { recursive: true, force: true });
}
process.exit();

/** Makes a folder with what a browser knows of authorities: also of this one, if it is trusted. */
function folder(name, trusted) {
  const folder = path.join(home, name);
  mkdirSync(folder);
  const change = (...words) => execFileSync("certutil", ["-d", `sql:${folder}`, ...words]);
  change("-N", "--empty-password");
  if (trusted) change("-A", "-n", "site", "-t", "C,,", "-i", authority);
  return folder;
}

/** Returns what the page says, or why it is not opened. */
async function open(browser, address) {
  try {
    const page = await browser.newPage();
    await page.goto(address, { timeout: PATIENCE_MS });
    return await page.evaluate(() => document.body.textContent);
  } catch (error) {
    return error.message.split("\n")[0];
  } finally {
    await browser.close();
  }
}

async function askChromium(address, folder) {
  // It looks for that below the home of its user.
  const own = `${folder}-home`;
  mkdirSync(path.join(own, ".pki"), { recursive: true });
  execFileSync("cp", ["-r", folder, path.join(own, ".pki/nssdb")]);
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu"],
    env: { ...process.env, HOME: own },
  });
  return open(browser, address);
}

async function askFirefox(address, folder) {
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: process.env.FIREFOX || "/usr/bin/firefox-esr",
    headless: true,
    acceptInsecureCerts: false,
    protocolTimeout: PATIENCE_MS,
    userDataDir: folder,
  });
  return open(browser, address);
}
