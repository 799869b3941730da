// Registers service_worker.js, which keeps the files so that the page also works offline.

const TRIED = "swapyolo-isolated"; // in the storage of the tab

/** Returns in words whether the page works offline, once all is loaded. */
export async function goOffline() {
  if (!navigator.serviceWorker) return "no, browsers allow it only with https or on this machine";
  let registration;
  try {
    registration = await navigator.serviceWorker.register("service_worker.js", { updateViaCache: "none" });
  } catch (error) {
    return `no: ${error.message}`;
  }
  if (!navigator.serviceWorker.controller) await control(registration);
  if (!navigator.serviceWorker.controller) return "no, until the page is loaded again";
  if (!self.crossOriginIsolated && !sessionStorage.getItem(TRIED)) {
    // Only the service worker's answers have the headers that allow threads.
    sessionStorage.setItem(TRIED, "yes");
    location.reload();
    await new Promise(() => {}); // nothing else is loaded before that
  }
  return "yes, once the model is loaded";
}

/** Waits until a service worker that is being installed controls the page, or fails. */
function control(registration) {
  const worker = registration.installing ?? registration.waiting;
  if (!worker) return null; // the page was loaded without it on purpose, by Shift and reload
  return new Promise((resolve) => {
    navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true });
    worker.addEventListener("statechange", () => worker.state === "redundant" && resolve());
  });
}

/** Calls a function when the files of a newer version have replaced those of this page. */
export function onNewVersion(call) {
  if (!navigator.serviceWorker?.controller) return;
  navigator.serviceWorker.addEventListener("controllerchange", call, { once: true });
}
