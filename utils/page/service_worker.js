// Keeps the files of this folder, so that the page works offline, and allows it to use threads.
// `export.py` puts VERSION, POLICY, PAGE and LARGE in front: the digest of all files, the
// Content-Security-Policy, the paths of small files, and the sizes of large ones by path.

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
const SIZES = new Map(Object.entries(LARGE).map(([path, bytes]) => [absolute(path), bytes]));
const KNOWN = new Set([...PAGE.map(absolute), ...SIZES.keys()]);

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
  // Of servers that state no time of expiry, browsers would use older files.
  const requests = urls.map((url) => new Request(url, { cache: "no-cache" }));
  await (await caches.open(CACHE)).addAll(requests);
}

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

/** Keeps a file, unless it was copied only in part. */
async function keep(cache, url, response) {
  const body = await response.blob();
  if (!SIZES.has(url) || SIZES.get(url) === body.size) {
    await cache.put(url, new Response(body, { headers: response.headers }));
  }
}

async function answer(event) {
  const cache = await caches.open(CACHE);
  const url = address(event.request);
  let response = await cache.match(url);
  if (!response) {
    response = await fetch(new Request(url, { cache: "no-cache" }));
    if (response.status === 200) event.waitUntil(keep(cache, url, response.clone()));
  }
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  for (const name of ["Content-Encoding", "Content-Length"]) headers.delete(name); // the body is decoded
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
