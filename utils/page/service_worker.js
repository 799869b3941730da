// Keeps the files of this folder, so that the page works offline, and allows it to use threads.
// `export.py` puts VERSION, POLICY, PAGE and LARGE in front: the digest of all files, the
// Content-Security-Policy, and the paths of small and of large files.

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
const KNOWN = new Set([...PAGE, ...LARGE].map(absolute));

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
  const paths = [...PAGE, ...LARGE.filter((path) => loaded.has(absolute(path)))];
  // Servers that state no time of expiry would give the browser reason to use older files.
  const requests = paths.map((path) => new Request(absolute(path), { cache: "no-cache" }));
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

async function answer(event) {
  const cache = await caches.open(CACHE);
  const url = address(event.request);
  let response = await cache.match(url);
  if (!response) {
    response = await fetch(new Request(url, { cache: "no-cache" }));
    if (response.status === 200) event.waitUntil(cache.put(url, response.clone()));
  }
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  for (const name of ["Content-Encoding", "Content-Length"]) headers.delete(name); // the body is decoded
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
