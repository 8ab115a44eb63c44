// The server: a session, requests with its secret, and the stream of what happens.

let secret = "";

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export async function ask(method, path, body) {
  let answer;
  try {
    answer = await fetch(path, { method, body, headers: secret ? { "X-Unblur-Session": secret } : {} });
  } catch {
    throw new Refused("The server does not answer. Is `unblur web` still running?", 0);
  }
  if (answer.ok) return answer;
  let message = `The server refused (${answer.status}).`;
  try {
    message = (await answer.json()).error;
  } catch {
    // an answer that is no JSON, such as that of the guard
  }
  throw new Refused(message, answer.status);
}

export async function start() {
  secret = (await (await ask("POST", "/api/session")).json()).session;
  addEventListener("pagehide", () => navigator.sendBeacon("/api/session/end", secret));
  addEventListener("pageshow", (event) => event.persisted && location.reload());
}

export const form = async () => (await ask("GET", "/api/form")).json();

export async function upload(file, role) {
  const place = `/api/uploads?role=${role}&name=${encodeURIComponent(file.name)}`;
  return (await ask("POST", place, file)).json();
}

export const order = async (what) => (await ask("POST", "/api/jobs", JSON.stringify(what))).json();

export const remove = (kind, id) => ask("DELETE", `/api/${kind}/${id}`);

/** A picture of the server as the address of an object in this page. */
export async function picture(path) {
  return URL.createObjectURL(await (await ask("GET", path)).blob());
}

export async function download(job, strength, name) {
  const link = document.createElement("a");
  link.href = await picture(`/api/jobs/${job}/download?strength=${strength}`);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

/** Call `tell` with every event, and `lost` once the session has ended. Connects again after a failure. */
export async function listen(tell, lost) {
  for (let failures = 0; ; failures += 1) {
    try {
      const reader = (await ask("GET", "/api/events")).body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        failures = 0;
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        lines.filter(Boolean).forEach((line) => tell(JSON.parse(line)));
      }
    } catch (error) {
      if (error.status === 410 || failures > 5) return lost(error);
    }
    await new Promise((resolve) => setTimeout(resolve, 1000 * (failures + 1)));
  }
}
