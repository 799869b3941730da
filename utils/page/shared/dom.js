// Small helpers for the document.

export const byId = (id) => document.getElementById(id);

/** Makes an element; text is never read as HTML, so that names in it stay names. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function makeSvg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** Shows an error with buttons: `actions` maps their texts to functions. */
export function showError(text, actions = {}) {
  const entry = make("div", { className: "message" }, make("p", { textContent: text }));
  const buttons = make("div", { className: "buttons small" });
  for (const [name, act] of Object.entries({ ...actions, Dismiss: () => {} })) {
    const button = make("button", { type: "button", textContent: name });
    button.onclick = () => {
      entry.remove();
      act();
    };
    buttons.append(button);
  }
  entry.append(buttons);
  byId("errors").append(entry);
  return entry;
}

export function download(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // browsers read it after the click
}
