// Keeps the files of this folder, so that the page works offline, and allows it to use threads.
// `export.py` puts VERSION, POLICY, PAGE, LARGE and DIGESTS in front: the digest of all files, the
// Content-Security-Policy, the paths of small files, the sizes of large ones by path, and the SHA-256
// of each file by path.

const PREFIX = `swapyolo ${registration.scope} `; // an origin can have several such folders
const CACHE = PREFIX + VERSION;
// The first two isolate the page from other sites, which is what browsers want of pages with
// threads. A worker has only the policy of its own file.
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Content-Security-Policy": POLICY,
};

const absolute = (path) => new URL(path, registration.scope).href;
const byUrl = (values) => new Map(Object.entries(values).map(([path, value]) => [absolute(path), value]));
const SIZES = byUrl(LARGE);
const KNOWN = byUrl(DIGESTS);

self.oninstall = (event) => {
  self.skipWaiting();
  event.waitUntil(fill());
};

/** Loads the page, and those large files that the version before has loaded. */
async function fill() {
  const loaded = new Set();
  for (const name of await oldCaches()) {
    for (const { url } of await (await caches.open(name)).keys()) loaded.add(url);
  }
  const urls = [...PAGE.map(absolute), ...[...SIZES.keys()].filter((url) => loaded.has(url))];
  const cache = await caches.open(CACHE);
  const kept = await Promise.all(urls.map(async (url) => keep(cache, url, await load(url))));
  // While a folder is replaced, this file may arrive first. The next visit installs it again.
  if (kept.includes(false)) throw new Error("Some files are not those of this version.");
}

// Of servers that state no time of expiry, browsers would use older files.
const load = (url) => fetch(url, { cache: "no-cache" });

async function oldCaches() {
  return (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
}

self.onactivate = (event) => event.waitUntil(takeOver());

async function takeOver() {
  await Promise.all((await oldCaches()).map((name) => caches.delete(name)));
  await self.clients.claim();
}

self.onfetch = (event) => {
  if (event.request.method === "GET" && KNOWN.has(address(event.request))) event.respondWith(answer(event));
};

/** The address of a request without its query. */
function address({ url }) {
  const { origin, pathname } = new URL(url);
  return origin + pathname;
}

/** Keeps a file, unless it is of another version or was copied only in part; returns whether it does. */
async function keep(cache, url, response) {
  const body = await response.blob();
  if (SIZES.has(url) && SIZES.get(url) !== body.size) return false; // not read into memory
  if ((await digestOf(body)) !== KNOWN.get(url)) return false;
  await cache.put(url, new Response(body, { headers: response.headers }));
  return true;
}

/** The SHA-256 of a file, as hexadecimal digits. */
async function digestOf(body) {
  const digest = await crypto.subtle.digest("SHA-256", await body.arrayBuffer());
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function answer(event) {
  const cache = await caches.open(CACHE);
  const url = address(event.request);
  let response = await cache.match(url);
  if (!response) {
    response = await load(url);
    if (response.status === 200) event.waitUntil(keep(cache, url, response.clone()));
  }
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  for (const name of ["Content-Encoding", "Content-Length"]) headers.delete(name); // the body is decoded
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
