// What the page does: take a recording, send it, show the answer.

const facts = JSON.parse(document.getElementById("page-facts").textContent);
const part = id => document.getElementById(id);
const token = new URLSearchParams(location.search).get("token") || "";
if (token) history.replaceState(null, "", location.pathname); // not in the history, nor on a screenshot
let recorder = null, shown = null;

function made(kind, className, text) {
  const element = document.createElement(kind);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// What has been shown as well is only read out.
function say(words, only = false) { part("status").textContent = words; part("status").classList.toggle("hidden", only); }

function fail(words) {
  say("");
  part("sound").pause();
  part("result").hidden = true; // it would be another recording's
  part("error").textContent = words;
}

function busy(is) {
  part("busy").hidden = !is;
  part("record").disabled = part("file").disabled = is;
  part("ask").setAttribute("aria-busy", is);
}

async function send(blob, name) {
  part("error").textContent = "";
  if (blob.size > facts.mostBytes) return fail(`${name} has ${(blob.size / 1e6).toFixed(1)} MB, and at most ${facts.megabytes} MB are read: cut it, or compress it.`);
  busy(true);
  say(`Listening to ${name} …`);
  const headers = { "Content-Type": "application/octet-stream" };
  if (token) headers.Authorization = `Bearer ${token}`;
  let response, answer;
  try {
    response = await fetch(`predict?timeline=1&picture=1&name=${encodeURIComponent(name.slice(0, 200))}`, { method: "POST", headers, body: blob });
    answer = await response.json();
  } catch (error) {
    return fail(`${name}: the server cannot be reached. Is \`ser serve\` still running?`);
  } finally {
    busy(false);
  }
  if (response.ok) show(answer, blob);
  else fail(`${name}: ${answer.problem.replace(`${answer.reason}: `, "")}.`);
}

function show(answer, blob) {
  const [prediction] = answer.predictions;
  const ranked = Object.entries(prediction.probabilities).sort((one, other) => other[1] - one[1]);
  part("name").textContent = prediction.path;
  part("emotion").textContent = prediction.emotion;
  part("share").textContent = perCent(ranked[0][1]);
  part("facts").textContent = `${seconds(prediction.seconds)}, of which ${seconds(prediction.speech_seconds)} were judged`;
  part("warnings").replaceChildren();
  if (prediction.no_speech) part("warnings").append(made("p", "notice", "No speech was found, so all of it was judged. Do not trust the answer."));
  if (prediction.warnings.length) {
    const notice = made("div", "notice"), list = made("ul");
    notice.append(made("strong", "", "Unlike the training clips, so trust the answer less:"), list);
    prediction.warnings.forEach(one => list.append(made("li", "", one)));
    part("warnings").append(notice);
  }
  part("bars").replaceChildren(...ranked.flatMap(([name, share], place) => {
    const term = made("dt", place ? "" : "first", name), value = made("dd"), track = made("span", "track"), bar = made("i");
    bar.style.width = `${100 * share}%`;
    track.setAttribute("aria-hidden", "true");
    track.append(bar);
    value.append(track, made("span", "value", perCent(share)));
    return [term, value];
  }));
  for (const link of [part("save"), part("sound")]) URL.revokeObjectURL(link.href || link.src);
  part("save").href = URL.createObjectURL(new Blob([JSON.stringify(answer, null, 1)], { type: "application/json" }));
  part("sound").hidden = false;
  part("sound").src = URL.createObjectURL(blob);
  part("window").textContent = answer.timeline.window;
  part("key").replaceChildren(...facts.classes.map((name, number) => {
    const item = made("li"), swatch = made("i");
    swatch.style.background = facts.colours[number];
    item.append(swatch, name);
    return item;
  }));
  part("stretches").replaceChildren(...answer.timeline.stretches.map(one => {
    const row = made("tr");
    row.append(made("td", "t", seconds(one.start)), made("td", "t", seconds(one.end)), made("td", "t", one.emotion), made("td", "", perCent(one.probability)));
    return row;
  }));
  part("result").hidden = false;
  shown = answer;
  draw();
  say(`${prediction.path}: ${prediction.emotion}, ${perCent(ranked[0][1])}.${prediction.warnings.length || prediction.no_speech ? " There are warnings." : ""}`, true);
  part("answer").focus({ preventScroll: true });
  part("result").scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

function draw() {
  if (!shown) return;
  drawWave(shown.picture, shown.timeline.speech);
  drawShares(shown.timeline, facts.colours);
  drawMel(shown.picture);
  part("looked").textContent = drawAttention(shown.picture.attention);
  drawAxis(shown.picture.seconds);
}

async function toggleRecording() {
  part("error").textContent = "";
  if (recorder) {
    const done = recorder;
    recorder = null;
    part("record").classList.remove("recording");
    part("record-words").textContent = "Record";
    part("meter").hidden = true;
    part("file").disabled = false;
    return send(await done.stopped(), "microphone.wav");
  }
  part("record").disabled = true;
  try {
    say("The browser asks for the microphone …");
    recorder = await Recorder.started((length, level) => {
      part("clock").textContent = seconds(length);
      part("level").style.width = `${Math.round(100 * Math.sqrt(level))}%`;
      const bytes = 2 * length * (recorder ? recorder.context.sampleRate : 0) + 44;
      if (recorder && (length > 60 * facts.minutes - 0.5 || bytes > facts.mostBytes - 100000)) toggleRecording();
    });
    part("record").classList.add("recording");
    part("record-words").textContent = "Stop";
    part("meter").hidden = false;
    part("file").disabled = true;
    say("Recording. Speak, then stop.");
  } catch (error) {
    fail(error.name === "NotAllowedError" ? "The browser was not allowed to use the microphone. Allow it, or choose a file."
      : error.name === "NotFoundError" ? "There is no microphone. Choose a file instead." : error.message);
  } finally {
    part("record").disabled = false;
  }
}

part("record").addEventListener("click", toggleRecording);
part("file").addEventListener("change", () => {
  const [file] = part("file").files;
  part("file").value = ""; // so that the same file can be chosen again
  if (file) send(file, file.name);
});
part("sound").addEventListener("error", () => { part("sound").hidden = true; }); // a format that the browser cannot play
part("api").addEventListener("click", async event => {
  if (!token) return;
  event.preventDefault(); // a link sends no header
  const response = await fetch("openapi.json", { headers: { Authorization: `Bearer ${token}` } });
  location.href = URL.createObjectURL(await response.blob());
});

for (const kind of ["dragover", "dragleave", "drop"]) {
  addEventListener(kind, event => {
    event.preventDefault();
    part("ask").classList.toggle("over", kind === "dragover");
    if (kind !== "drop" || recorder || part("file").disabled) return;
    const { files } = event.dataTransfer;
    if (files.length > 1) fail("One recording at a time, please.");
    else if (files.length) send(files[0], files[0].name);
  });
}

function follow() {
  const sound = part("sound"), cursor = part("cursor");
  cursor.hidden = !shown || sound.currentTime === 0;
  if (!cursor.hidden) cursor.style.left = `${100 * Math.min(1, sound.currentTime / shown.picture.seconds)}%`;
  if (!sound.paused) requestAnimationFrame(follow);
}
for (const kind of ["play", "seeked", "pause", "ended"]) part("sound").addEventListener(kind, follow);
addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
