const answers = document.getElementById("answers");
const status = document.getElementById("status");
const TOGETHER = 4, TRIES = 8;
let done = 0, all = 0;
const waiting = [];
let busy = 0;

function element(kind, className, text) {
  const made = document.createElement(kind);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function percent(share) {
  return share > 0.995 && share < 1 ? "over 99%" : `${Math.round(100 * share)}%`;
}

function card(name, file) {
  const item = element("li"), box = element("div");
  if (file) {
    const picture = element("img");
    picture.alt = "";
    picture.src = URL.createObjectURL(file);
    picture.onload = () => URL.revokeObjectURL(picture.src);
    picture.onerror = () => { URL.revokeObjectURL(picture.src); picture.remove(); };
    item.append(picture);
  }
  box.append(element("p", "name", name), element("p", "sure", "..."));
  box.firstChild.title = name;
  item.append(box);
  answers.append(item);
  return box;
}

function words(answer) {
  const plain = (number) => String(Number(number.toPrecision(4)));
  if (answer.value === null) return "not sure";
  if (Array.isArray(answer.value)) return answer.value.join(", ") || "(none)";
  if (typeof answer.value === "string") return `${answer.value} (${percent(answer.probability)})`;
  return plain(answer.value) + (answer.low === undefined ? "" : ` (${plain(answer.low)} to ${plain(answer.high)})`);
}

function showColumns(box, found) {
  for (const [name, answer] of Object.entries(found.answers)) {
    box.append(element("p", "sure", name), element("p", "label", words(answer)));
  }
}

function show(box, found) {
  box.lastChild.remove();
  if (found.answers) { showColumns(box, found); return; }
  box.append(element("p", "label", found.label === null ? "not sure" : found.label));
  const best = Object.entries(found.scores).sort((a, b) => b[1] - a[1]).slice(0, 3);
  box.append(element("p", "sure", found.label === null ? `best guess: ${best[0][0]}, ${percent(found.probability)}` : `${percent(found.probability)} sure`));
  for (const [name, share] of best) {
    const row = element("div", "share"), bar = element("meter");
    bar.value = share;
    bar.title = `${name}: ${percent(share)}`;
    const title = element("span", "", name);
    title.title = name;
    row.append(title, bar, element("span", "", percent(share)));
    box.append(row);
  }
}

function refuse(box, sentence) {
  box.lastChild.remove();
  box.append(element("p", "wrong", sentence));
}

async function ask(options) {
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const response = await fetch("/predict", { method: "POST", ...options });
    if (response.status === 503) {
      await new Promise((later) => setTimeout(later, 1000 * Number(response.headers.get("Retry-After") || 1)));
      continue;
    }
    const said = await response.json();
    if (response.ok) return said.predictions[0];
    throw new Error(said.error);
  }
  throw new Error("The server is busy. Try again later.");
}

async function next() {
  if (busy >= TOGETHER || !waiting.length) return;
  busy++;
  const [box, options] = waiting.shift();
  try {
    show(box, await ask(options));
  } catch (problem) {
    refuse(box, problem instanceof TypeError ? "The server cannot be reached." : problem.message);
  }
  busy--;
  done++;
  status.textContent = `${done} of ${all} done`;
  next();
}

function add(name, options, file) {
  all++;
  status.textContent = `${done} of ${all} done`;
  waiting.push([card(name, file), options]);
  next();
}

function photos(files) {
  for (const file of files) {
    const body = new FormData();
    body.append("photos", file, file.name || "photo");
    add(file.name || "photo", { body }, file);
  }
}

if (KEY === "photos") {
  const drop = document.getElementById("drop"), input = document.getElementById("files");
  input.onchange = () => { photos(input.files); input.value = ""; };
  for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());
  window.addEventListener("drop", (event) => photos(event.dataTransfer.files));
  window.addEventListener("paste", (event) => photos(event.clipboardData.files));
} else {
  answers.className = "lines";
  const form = document.getElementById("form"), text = document.getElementById("text");
  form.onsubmit = (event) => {
    event.preventDefault();
    for (const line of text.value.split("\n").filter((one) => one.trim())) {
      let item = line;
      if (KEY === "vectors" || KEY === "rows") {
        try { item = JSON.parse(line); } catch { refuse(card(line), KEY === "rows" ? "This line is no row in JSON." : "This line is no list of numbers."); continue; }
      }
      add(line, { body: JSON.stringify({ [KEY]: [item] }), headers: { "Content-Type": "application/json" } });
    }
  };
  text.onkeydown = (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit(); };
}
