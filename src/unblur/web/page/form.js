// The form, made of what the server says about the methods. No method and no setting is named here.

import { make, takesFiles } from "./dom.js";

const AUTOMATIC = "automatic";

let unique = 0;

/** A label, a control and a help text. */
function field(label, control, help, kind = "") {
  control.id ||= `field-${(unique += 1)}`;
  const name = make("label", { htmlFor: control.id }, label);
  const parts = kind === "check" ? [control, name] : [name, control];
  const text = help ? make("small", { id: `${control.id}-help` }, help) : null;
  if (text) control.setAttribute("aria-describedby", text.id);
  return make("div", { className: `field ${kind}` }, ...parts, text);
}

const select = (choices, value) => {
  const control = make("select", {}, ...choices.map(([key, text]) => make("option", { value: key }, text)));
  if (value !== undefined) control.value = value;
  return control;
};

/** A field for one setting of a method. `value()` is undefined if it is the default. */
function settingField(setting, changed) {
  const { type, choices, minimum, maximum } = setting;
  let control;
  let read;
  if (choices) {
    control = select(choices.map((choice) => [choice, choice]), setting.default);
    read = () => control.value;
  } else if (type === "boolean") {
    control = make("input", { type: "checkbox", checked: setting.default });
    read = () => control.checked;
  } else if (type === "integer" || type === "number") {
    control = make("input", { type: "number", step: type === "integer" ? 1 : "any", inputMode: "decimal" });
    control.placeholder = setting.default === null ? AUTOMATIC : "";
    control.value = setting.default ?? "";
    if (minimum !== null) control.min = minimum;
    if (maximum !== null) control.max = maximum;
    read = () => (control.value === "" ? setting.default : Number(control.value));
  } else {
    control = make("input", { type: "text", value: setting.default ?? "" });
    read = () => control.value || setting.default;
  }
  control.dataset.setting = setting.name;
  control.addEventListener("input", changed);
  const range = minimum !== null && maximum !== null && type !== "boolean" ? ` (${minimum} to ${maximum})` : "";
  const element = field(setting.name, control, `${setting.help}${range}`, type === "boolean" ? "check" : "");
  return { name: setting.name, element, value: () => (read() === setting.default ? undefined : read()) };
}

/** The settings of one method, folded. */
function group(method, changed) {
  const fields = [];
  const count = make("span", { className: "count" });
  const refresh = () => {
    const own = fields.filter((each) => each.value() !== undefined).length;
    count.textContent = own ? ` · ${own} changed` : "";
    changed();
  };
  const presets = Object.keys(method.presets);
  if (presets.length) {
    const control = select([["", "none"], ...presets.map((name) => [name, name])]);
    control.addEventListener("input", refresh);
    const help = "a group of settings; those that are changed below come before it";
    fields.push({ name: "preset", element: field("preset", control, help), value: () => control.value || undefined });
  }
  fields.push(...method.settings.map((setting) => settingField(setting, refresh)));
  const inside = make("div", { className: "group" }, ...fields.map((each) => each.element));
  const element = make("details", {}, make("summary", {}, `Settings of ${method.name}`, count), inside);
  const values = () =>
    fields.map((each) => [`${method.name}.${each.name}`, each.value()]).filter(([, value]) => value !== undefined);
  return { element, values };
}

/** A place for a file that is given besides the photo. */
export function slot(label, help, accept, take, remove) {
  const input = make("input", { type: "file", accept, ariaLabel: label });
  const drop = make("label", { className: "drop small" }, input, make("span", {}, help));
  const picture = make("img", { alt: "" });
  const words = make("div");
  const away = make("button", { type: "button", ariaLabel: `Remove: ${label}` }, "Remove");
  const given = make("div", { className: "given", hidden: true }, picture, words, away);
  const trouble = make("p", { className: "trouble", role: "alert", hidden: true });
  takesFiles(drop, ([file]) => file && take(file));
  away.addEventListener("click", remove);
  const element = make("div", { className: "field" }, make("span", { className: "label" }, label), drop, given, trouble);
  const show = (file) => {
    [drop.hidden, given.hidden] = [Boolean(file), !file];
    if (!file) return;
    picture.src = file.picture;
    words.replaceChildren(file.name, make("br"), make("small", {}, file.words ?? `${file.width} × ${file.height}`));
  };
  const complain = (message) => {
    trouble.textContent = message;
    trouble.hidden = !message;
  };
  return { element, show, complain };
}

export class Form {
  /**
   * @param described what the server says: `methods`, `auto`, `estimator`.
   * @param slots elements for the PSF and the short shot.
   * @param changed called when a choice has changed.
   */
  constructor(described, slots, changed) {
    this.all = described;
    this.changed = changed;
    this.given = { psf: false, short: false };
    this.groups = new Map();
    const gives = (what) => described.methods.filter((method) => method.gives.includes(what));
    this.restoring = gives("image").filter((method) => !method.needs.includes("frames"));
    this.estimators = gives("psf").filter((method) => !method.needs.includes("psf"));
    this.method = select([[described.auto, "automatic"], ...this.restoring.map(({ name }) => [name, name])]);
    this.estimator = select(this.estimators.map(({ name }) => [name, name]), described.estimator);
    this.about = make("small");
    this.methodField = field("Method", this.method);
    this.methodField.append(this.about);
    this.estimatorField = field("The PSF is estimated by", this.estimator, " ");
    this.settings = make("div", { className: "field" });
    this.size = make("input", { type: "number", min: 3, max: 301, step: 2, placeholder: AUTOMATIC });
    this.noise = make("input", { type: "number", min: 0, max: 127, step: "any", placeholder: AUTOMATIC });
    this.ratio = make("input", { type: "number", min: 0, step: "any", placeholder: "measured" });
    this.align = make("input", { type: "checkbox", checked: true });
    this.force = make("input", { type: "checkbox" });
    this.region = make("input", { type: "text", pattern: "\\d+,\\d+,\\d+,\\d+", placeholder: "the whole photo" });
    this.draw = make("button", { type: "button" }, "Draw");
    const where = "the PSF is estimated in this part: left, top, width, height in pixels";
    this.regionField = field("Region of the PSF", this.region, where);
    this.regionField.insertBefore(make("div", { className: "pair" }, this.region, this.draw), this.regionField.lastChild);
    this.sizeField = field("PSF size", this.size, "side in pixels of the PSF to estimate, odd");
    this.ratioField = field("Exposure ratio", this.ratio, "exposure of the photo divided by that of the short shot");
    this.alignField = field("Align the short shot", this.align, "move it onto the photo, and make it as bright", "check");
    const more = make(
      "div",
      { className: "group" },
      field("Noise", this.noise, "standard deviation, in levels of 255"),
      this.sizeField,
      this.regionField,
      this.ratioField,
      this.alignField,
      field("Keep doubtful results", this.force, "also when a result is not credible", "check"),
    );
    const details = make("details", {}, make("summary", {}, "More"), more);
    this.elements = [this.methodField, this.estimatorField, ...slots, this.settings, details];
    for (const control of [this.method, this.estimator]) control.addEventListener("input", () => this.refresh());
    more.addEventListener("input", changed);
    this.refresh();
  }

  /** Say which of the optional files are there. */
  has(given) {
    this.given = { ...this.given, ...given };
    this.refresh();
  }

  /** The chosen steps, in the order in which they run; none for the automatic choice. */
  get steps() {
    const chosen = this.restoring.find(({ name }) => name === this.method.value);
    if (!chosen) return [];
    const first = this.estimators.find(({ name }) => name === this.estimator.value);
    return chosen.needs.includes("psf") && !this.given.psf && first ? [first, chosen] : [chosen];
  }

  refresh() {
    const { steps } = this;
    const chosen = steps.at(-1);
    const auto = "chooses a method for each photo, and says why";
    this.about.textContent = chosen ? [chosen.title, chosen.paper].filter(Boolean).join(". ") : auto;
    this.estimatorField.hidden = steps.length < 2;
    this.estimatorField.querySelector("small").textContent = steps.length < 2 ? "" : steps[0].title;
    const estimates = chosen ? steps.some((step) => step.gives.includes("psf")) : !this.given.psf && !this.given.short;
    this.sizeField.hidden = !estimates;
    this.regionField.hidden = !estimates || steps.length === 1; // a step that only estimates the PSF is needed
    this.ratioField.hidden = this.alignField.hidden = !this.given.short;
    const shown = steps.map((step) => {
      if (!this.groups.has(step.name)) this.groups.set(step.name, group(step, this.changed));
      return this.groups.get(step.name).element;
    });
    this.settings.replaceChildren(...shown);
    this.settings.hidden = !shown.length;
    this.changed();
  }

  /** What stands in the way of restoring, or "". */
  get obstacle() {
    const needs = this.steps.at(-1)?.needs ?? [];
    return needs.includes("noisy") && !this.given.short ? "This method needs the short shot as well." : "";
  }

  /** Show which value is out of range; true if there is none. */
  check() {
    const wrong = this.elements
      .flatMap((element) => [...element.querySelectorAll("input")])
      .find((input) => !input.closest("[hidden]") && !input.checkValidity());
    if (wrong) wrong.closest("details").open = true;
    wrong?.reportValidity();
    return !wrong;
  }

  /** What is asked for, as the server wants it. */
  get choices() {
    const { steps } = this;
    const settings = Object.fromEntries(steps.flatMap((step) => this.groups.get(step.name).values()));
    const choices = { method: steps.map(({ name }) => name).join("+") || this.all.auto, settings, force: this.force.checked };
    if (!this.sizeField.hidden && this.size.value) choices.psf_size = Number(this.size.value);
    if (this.noise.value) choices.sigma = `${this.noise.value}/255`;
    if (this.given.short) {
      choices.align = this.align.checked;
      if (this.ratio.value) choices.exposure_ratio = Number(this.ratio.value);
    }
    return choices;
  }
}
