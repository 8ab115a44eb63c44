// The page: photos, what is known of each, and what the person does.

import * as api from "./api.js";
import { dragsFiles, find, make, takesFiles } from "./dom.js";
import { Form, slot } from "./form.js";
import { Viewer } from "./viewer.js";

const PHOTOS = "image/*,.tif,.tiff,.heic,.heif,.avif";
const photos = []; // {name, id, before, after, psf, job, short, asked, error, strength, saved, stripItem}
const viewer = new Viewer(find("viewer"));
let chosen = null; // the photo that is shown
let shown = null; // the photo and result that the viewer shows
let form = null;
let knownPsf = null;
const started = api.start();

const is = (photo, ...states) => states.includes(photo?.job?.state);
const busy = (photo) => Boolean(photo) && (!photo.id || is(photo, "waiting", "running"));
const say = (message) => (find("status").textContent = message);
const said = (state) => ({ done: "restored", failed: "failed", cancelled: "cancelled", waiting: "waiting" })[state];

// --- photos ---------------------------------------------------------------------------------------

async function add(files) {
  const added = files.map((file) => ({ name: file.name, file, strength: 1 }));
  photos.push(...added);
  if (added.length) choose(added[0]);
  for (const photo of added) {
    try {
      await started;
      const limit = form?.all.limits.max_bytes ?? Infinity;
      if (photo.file.size > limit) throw new Error(`${photo.name}: larger than ${limit / 1e6} megabytes. Save it smaller.`);
      const facts = await api.upload(photo.file, "photo");
      photo.before = await api.picture(`/api/uploads/${facts.id}/preview`);
      Object.assign(photo, facts);
      if (!photos.includes(photo)) await api.remove("uploads", photo.id);
      else if (form && !form.obstacle) await restore(photo);
    } catch (error) {
      photo.error = error.message;
    }
    photo.file = null;
    draw();
  }
}

function choose(photo) {
  chosen = photo;
  form?.has({ short: Boolean(photo?.short) });
  if (form) form.region.value = photo?.region ?? "";
  viewer.picked = null;
  slots.short.show(photo?.short);
  slots.short.complain("");
  draw();
}

async function removePhoto(photo) {
  const place = photos.indexOf(photo);
  photos.splice(place, 1);
  if (photo === chosen) choose(photos[Math.min(place, photos.length - 1)] ?? null);
  draw();
  for (const id of [photo.id, photo.short?.id]) if (id) await api.remove("uploads", id).catch(() => {});
  for (const address of [photo.before, photo.after, photo.psf]) if (address) URL.revokeObjectURL(address);
}

// --- files given besides the photo ----------------------------------------------------------------

const slots = {
  short: slot("Short shot of the same scene", "Drop a short, noisy shot here", PHOTOS, giveShort, () => removeShort(chosen)),
  psf: slot("Known PSF", "Drop a PSF here: .png, .tif or .npy", ".png,.tif,.tiff,.npy", givePsf, removePsf),
};

async function sent(file, role) {
  slots[role].complain("");
  try {
    await started;
    const facts = await api.upload(file, role);
    facts.picture = await api.picture(`/api/uploads/${facts.id}/preview`);
    return facts;
  } catch (error) {
    slots[role].complain(error.message);
    return null;
  }
}

async function giveShort(file) {
  const photo = chosen;
  if (!photo) return slots.short.complain("Add the photo first.");
  const short = await sent(file, "short");
  if (short) photo.short = short;
  if (photo === chosen && short) choose(photo);
}

async function removeShort(photo) {
  const { short } = photo;
  photo.short = null;
  choose(photo);
  await api.remove("uploads", short.id).catch(() => {});
}

async function givePsf(file) {
  const psf = await sent(file, "psf");
  if (!psf) return;
  knownPsf = psf;
  slots.psf.show(psf);
  form?.has({ psf: true });
}

async function removePsf() {
  const { id } = knownPsf;
  knownPsf = null;
  slots.psf.show(null);
  form?.has({ psf: false });
  await api.remove("uploads", id).catch(() => {});
}

// --- restoring ------------------------------------------------------------------------------------

/** What the form asks for with a photo, as a text that can be compared. */
const wish = (photo) => JSON.stringify([form.choices, regionOf(photo), photo.short?.id, knownPsf?.id]);

/** Where the PSF of a photo is to be estimated, in its pixels. */
const regionOf = (photo) => (form.regionField.hidden || !photo.region ? null : photo.region.split(",").map(Number));

async function restore(photo, further = {}) {
  const order = { photo: photo.id, ...form.choices, ...further };
  if (regionOf(photo)) order.region = regionOf(photo);
  if (photo.short) order.short = photo.short.id;
  if (knownPsf) order.psf = knownPsf.id;
  photo.error = "";
  photo.asked = wish(photo);
  try {
    const job = await api.order(order);
    if (photo.job?.job !== job.job) photo.job = job; // else the stream of events was faster
  } catch (error) {
    photo.error = error.message;
  }
  draw();
}

async function told(event) {
  const photo = photos.find(({ id }) => id === event.photo);
  if (!photo) return;
  const was = photo.job;
  photo.job = event;
  if (event.state === "running" && (was?.job !== event.job || was.state !== "running")) photo.since = Date.now();
  if (event.state === "done" && (was?.job !== event.job || was?.state !== "done")) {
    const after = await api.picture(`/api/jobs/${event.job}/preview`);
    const psf = event.result.psf && (await api.picture(`/api/jobs/${event.job}/psf`));
    for (const address of [photo.after, photo.psf]) if (address) URL.revokeObjectURL(address);
    Object.assign(photo, { after, psf, strength: 1, saved: !event.result.changed });
  }
  if (was?.state !== event.state && said(event.state)) say(`${photo.name}: ${said(event.state)}`);
  draw();
}

async function save() {
  const photo = chosen;
  find("download").disabled = true;
  try {
    await api.download(photo.job.job, photo.strength, photo.job.result.output);
    photo.saved = true;
  } catch (error) {
    photo.error = error.message;
  }
  find("download").disabled = false;
  draw();
}

// --- what is shown --------------------------------------------------------------------------------

function draw() {
  const photo = chosen;
  const done = is(photo, "done") && Boolean(photo.after);
  find("empty").hidden = photos.length > 0;
  find("add").hidden = photos.length === 0;
  find("viewer").hidden = !photo?.before;
  if (photo?.before) {
    viewer.show(photo.before, done && photo.job.result.changed ? photo.after : null, shown === photo.id);
    viewer.strength = photo.strength;
    drawRegion(photo);
    shown = photo.id;
  }
  drawProgress(photo);
  find("finish").hidden = !done;
  if (done) {
    find("strength").value = Math.round(100 * photo.strength);
    find("strength").disabled = !photo.job.result.changed;
    find("strength-shown").textContent = `${find("strength").value}%`;
  }
  drawTold(done ? photo : null);
  const trouble = photo?.error || (is(photo, "failed") ? photo.job.error : "");
  find("trouble").textContent = trouble;
  find("trouble").hidden = !trouble;
  drawStrip();
  drawActions(photo);
}

/** A large photo is shown reduced by a whole factor. */
const reduced = (photo) => Math.round(photo.width / viewer.size[0]) || 1;

function drawRegion(photo) {
  const asks = form && !(is(photo, "done") && photo.asked === wish(photo)) && find("form").checkValidity();
  const region = asks ? regionOf(photo) : null; // it would be in the way of a result
  viewer.region = region?.map((each) => each / reduced(photo)) ?? null;
  viewer.draw();
}

function setRegion(photo, text) {
  photo.region = text;
  if (photo === chosen) form.region.value = text;
  draw();
}

function drawProgress(photo) {
  find("progress").hidden = !busy(photo) || Boolean(photo.error);
  if (find("progress").hidden) return;
  const { stage, before, state } = photo.job ?? {};
  const waiting = before ? `waiting, ${before} before it` : "waiting";
  const running = () => `${stage.name || "starting"}, ${Math.round((Date.now() - photo.since) / 1000)} s`;
  find("stage").textContent = !photo.id ? "sending" : state === "running" ? running() : waiting;
  find("cancel").hidden = !photo.id;
  const bar = find("bar");
  if (state === "running" && stage.total) [bar.max, bar.value] = [stage.total, Math.min(stage.done, stage.total)];
  else bar.removeAttribute("value");
}

function drawTold(photo) {
  find("told").hidden = !photo;
  if (!photo) return;
  const { method, reason, changed, seconds, noise, psf, notes } = photo.job.result;
  find("headline").textContent = changed ? `Restored by ${method.replaceAll("+", " + ")}` : "Left as it was";
  find("reason").textContent = changed ? `${reason}, ${seconds.toFixed(1)} s` : "";
  const facts = { PSF: psf, Noise: noise === null ? null : `${(255 * noise).toFixed(1)} of 255 levels` };
  const rows = Object.entries(facts).filter(([, text]) => text);
  find("facts").replaceChildren(...rows.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  find("notes").replaceChildren(...notes.map((note) => make("li", {}, note)));
  find("psf").hidden = !photo.psf;
  if (photo.psf) find("psf").querySelector("img").src = photo.psf;
  find("anyway").hidden = changed || Boolean(form.choices.force);
}

function stateOf(photo) {
  if (photo.error) return "refused";
  if (!photo.id) return "sending";
  if (is(photo, "running")) return photo.job.stage.name || "starting";
  if (is(photo, "done") && !photo.job.result.changed) return "left as it was";
  return said(photo.job?.state) ?? "ready";
}

function drawStrip() {
  find("strip").hidden = photos.length === 0;
  for (const photo of photos.filter((each) => !each.stripItem)) {
    const image = make("img", { alt: "" });
    const state = make("span", { className: "state" });
    const pick = make("button", { type: "button", className: "pick" }, image, make("span", {}, photo.name), state);
    const away = make("button", { type: "button", className: "remove", ariaLabel: `Remove ${photo.name}` }, "×");
    pick.addEventListener("click", () => choose(photo));
    away.addEventListener("click", () => removePhoto(photo));
    photo.stripItem = make("li", {}, pick, away);
  }
  const items = photos.map(({ stripItem }) => stripItem);
  const strip = find("strip");
  if (items.length !== strip.children.length || items.some((item, i) => item !== strip.children[i])) {
    strip.replaceChildren(...items);
  }
  for (const photo of photos) {
    const image = photo.stripItem.querySelector("img");
    if (photo.before && image.getAttribute("src") !== photo.before) image.src = photo.before;
    photo.stripItem.querySelector(".state").textContent = stateOf(photo);
    photo.stripItem.querySelector(".pick").setAttribute("aria-current", photo === chosen);
  }
}

function drawActions(photo) {
  const ready = photos.filter((each) => each.id && !busy(each));
  const obstacle = form?.obstacle ?? "";
  find("restore").disabled = !form || !photo?.id || busy(photo) || Boolean(obstacle);
  find("restore").textContent = obstacle || (photo?.job ? "Restore again" : "Restore");
  find("restore").classList.toggle("primary", !photo?.job || wish(photo) !== photo.asked || Boolean(obstacle));
  find("restore-all").hidden = photos.length < 2;
  find("restore-all").disabled = !form || !ready.length || Boolean(obstacle);
}

// --- what the person does -------------------------------------------------------------------------

takesFiles(find("empty"), add);
find("add").addEventListener("click", () => find("files").click());
document.addEventListener("dragover", (event) => {
  if (!dragsFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dragging"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  add([...event.dataTransfer.files]);
});
document.addEventListener("paste", (event) => add([...event.clipboardData.files]));
find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!find("restore").disabled && form.check()) restore(chosen);
});
find("restore-all").addEventListener("click", async () => {
  if (form.check()) for (const photo of photos.filter((each) => each.id && !busy(each))) await restore(photo);
});
find("anyway").addEventListener("click", () => form.check() && restore(chosen, { force: true }));
find("cancel").addEventListener("click", () => chosen?.job && api.remove("jobs", chosen.job.job).catch(() => {}));
find("download").addEventListener("click", save);
find("strength").addEventListener("input", (event) => {
  chosen.strength = event.target.value / 100;
  chosen.saved = false;
  draw();
});
addEventListener("beforeunload", (event) => {
  if (photos.some((photo) => is(photo, "waiting", "running") || (is(photo, "done") && !photo.saved))) event.preventDefault();
});

function lost(error) {
  find("trouble").textContent = error.message;
  find("trouble").hidden = false;
}

async function begin() {
  await started;
  api.listen(told, lost);
  const described = await api.form();
  const { max_pixels: pixels, max_bytes: bytes } = described.limits;
  find("limits").textContent = `up to ${pixels / 1e6} megapixels and ${bytes / 1e6} megabytes each`;
  form = new Form(described, [slots.short.element, slots.psf.element], draw);
  form.has({ psf: Boolean(knownPsf), short: Boolean(chosen?.short) });
  find("fields").replaceChildren(...form.elements);
  form.region.addEventListener("input", () => chosen && setRegion(chosen, form.region.value));
  form.draw.addEventListener("click", () => {
    const photo = chosen;
    if (photo?.before) viewer.pick((region) => region && setRegion(photo, region.map((each) => each * reduced(photo)).join(",")));
  });
  for (const photo of photos.filter(({ id, job }) => id && !job)) await restore(photo);
}

setInterval(() => drawProgress(chosen), 1000);
begin().catch(lost);
