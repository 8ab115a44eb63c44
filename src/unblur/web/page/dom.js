// Small helpers for elements.

export const find = (id) => document.getElementById(id);

/** An element with properties and children; `null` children are left out. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Whether files, and not text, are being dragged. */
export const dragsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

/** Let a place take files that are dropped on it or chosen with its input. */
export function takesFiles(place, take) {
  place.addEventListener("dragover", (event) => {
    if (!dragsFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    place.classList.add("over");
    document.body.classList.remove("dragging");
  });
  place.addEventListener("dragleave", () => place.classList.remove("over"));
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    place.classList.remove("over");
    take([...event.dataTransfer.files]);
  });
  const input = place.querySelector("input[type=file]");
  input?.addEventListener("change", () => {
    take([...input.files]);
    input.value = "";
  });
}
