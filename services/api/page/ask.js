// Every call to the service: one place for the key, and for what a refusal says.

let key = ""; // in memory only: never in storage, a cookie or an address

export function useKey(text) {
  key = text.trim();
}

export const hasKey = () => key !== "";

export class Refusal extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** The JSON answer and its headers; throws a Refusal with one sentence. */
export async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  try {
    if (key) headers.set("Authorization", `Bearer ${key}`);
  } catch { // no header can hold it, so nobody was asked
    throw new Refusal(401, "That key has letters that no key has. Copy it again, and paste it above.");
  }
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Refusal(0, "The service does not answer. Is it running, and are you online?");
  }
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new Refusal(response.status, sentence(response, body));
  return { body, status: response.status, requestId: response.headers.get("X-Request-ID") };
}

function sentence(response, body) {
  const said = body?.detail ?? `The service answered ${response.status}.`;
  const wait = Number(response.headers.get("Retry-After"));
  const again = wait ? ` Try again in ${wait} s.` : "";
  const text = said.charAt(0).toUpperCase() + said.slice(1);
  return /[.!?]$/.test(text) ? text + again : `${text}.${again}`;
}
