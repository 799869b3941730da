// Requests to the service. Every failure becomes an Error whose message people can read.

import { byId, showError } from "./dom.js";

const TOKEN = "swapyolo-token"; // in the storage of the tab, which ends with it
const VALID = /^[A-Za-z0-9._~+/-]+=*$/; // as in utils/serving/tokens.py
const GONE =
  "The service does not answer. It has stopped, or the connection is lost: start serve.py again, then retry.";

export class ServiceError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** Sends a request and returns the response, whose status is one of success. */
export async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.set("Authorization", `Bearer ${token}`);
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError(GONE);
  }
  if (response.ok) return response;
  throw new ServiceError(await describe(response), response.status);
}

export async function askJson(path, options) {
  const response = await ask(path, options);
  try {
    return await response.json();
  } catch {
    throw new ServiceError(GONE); // it ended in the middle of its answer
  }
}

async function describe(response) {
  const wait = response.headers.get("Retry-After");
  let text;
  try {
    text = (await response.json()).error;
  } catch {
    text = `the service answers with status ${response.status}`; // a proxy between, for example
  }
  const words = text[0].toUpperCase() + text.slice(1);
  return wait ? `${words} (in ${wait} s).` : `${words}.`;
}

/** Asks people for the token, if the service wants one; `retry` is called with it in place. */
export function offerToken(error, retry) {
  const form = byId("token");
  if (error.status !== 401) return false;
  form.hidden = false;
  form.onsubmit = (event) => {
    event.preventDefault();
    const token = byId("token-text").value.trim();
    if (!VALID.test(token)) {
      showError("A token has only letters, digits and -._~+/=. This has something else, maybe invisible: copy it again.");
      return;
    }
    sessionStorage.setItem(TOKEN, token);
    form.hidden = true;
    retry();
  };
  byId("token-text").focus();
  return true;
}
