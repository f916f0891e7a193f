"use strict";
// Pictures of one answer. Each is drawn anew for the width it has; nothing here knows how the answer came.

const SVG = "http://www.w3.org/2000/svg";

function shape(parent, kind, attributes, text) {
  const made = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function cleared(id, words) {
  const svg = document.getElementById(id);
  svg.replaceChildren();
  const width = Math.max(50, svg.clientWidth), height = svg.clientHeight;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  if (words) svg.setAttribute("aria-label", words);
  return { svg, width, height };
}

const seconds = value => `${value.toFixed(1)} s`;
const perCent = value => `${(100 * value).toFixed(1)} %`;

// The waveform, speech in colour and underlined.
function drawWave(picture, speech) {
  const words = speech.length
    ? `Waveform of ${seconds(picture.seconds)}; speech from ${speech.map(([start, end]) => `${seconds(start)} to ${seconds(end)}`).slice(0, 20).join(", ")}`
    : `Waveform of ${seconds(picture.seconds)}; no speech was found`;
  const { svg, width, height } = cleared("wave", words);
  const middle = (height - 8) / 2, loudest = Math.max(0.02, ...picture.high, ...picture.low.map(one => -one));
  const count = picture.high.length, scale = width / picture.seconds;
  const x = place => ((place + 0.5) * width / count).toFixed(1);
  const y = value => (middle - value / loudest * (middle - 2)).toFixed(1);
  const outline = picture.high.map((value, place) => `${x(place)},${y(Math.max(value, 0.004 * loudest))}`).concat(
    picture.low.map((value, place) => `${x(place)},${y(Math.min(value, -0.004 * loudest))}`).reverse()).join(" ");
  shape(svg, "polygon", { points: outline, class: "loud" });
  const clip = shape(shape(svg, "defs", {}), "clipPath", { id: "speech" });
  for (const [start, end] of speech) {
    const box = { x: start * scale, y: 0, width: Math.max(1, (end - start) * scale), height };
    shape(clip, "rect", box);
    shape(svg, "line", { x1: box.x, x2: box.x + box.width, y1: height - 3, y2: height - 3, class: "mark" });
    for (const edge of [box.x + 1, box.x + box.width - 1]) shape(svg, "line", { x1: edge, x2: edge, y1: height - 9, y2: height - 2, class: "mark" });
  }
  shape(svg, "polygon", { points: outline, class: "spoken", "clip-path": "url(#speech)" });
}

// Probabilities stacked, with the name of the leading emotion above each stretch.
function drawShares(timeline, colours) {
  const told = timeline.stretches.slice(0, 20).map(one => `${one.emotion} from ${seconds(one.start)} to ${seconds(one.end)}`).join(", ");
  const { svg, width, height } = cleared("shares", told ? `Emotion over time: ${told}` : "Emotion over time: there is no speech");
  const top = 24, scale = width / timeline.seconds;
  for (const share of [0, 0.5, 1]) {
    const y = top + (1 - share) * (height - top - 1);
    shape(svg, "line", { x1: 0, x2: width, y1: y, y2: y, class: "rule" });
  }
  for (const moment of timeline.moments) {
    let y = height - 1;
    timeline.classes.forEach((name, number) => {
      const tall = (moment.probabilities[name] || 0) * (height - top - 1);
      y -= tall;
      if (tall < 0.3) return;
      const box = { x: moment.start * scale, y, width: (moment.end - moment.start) * scale + 0.4, height: tall, fill: colours[number] };
      shape(shape(svg, "rect", box), "title", {}, `${seconds(moment.start)}: ${name} ${perCent(moment.probabilities[name])}`);
    });
  }
  for (const one of timeline.stretches) {
    const left = one.start * scale, wide = (one.end - one.start) * scale;
    if (wide < 6) continue; // lines beside lines would hide the rest
    shape(svg, "line", { x1: left + 0.5, x2: left + 0.5, y1: 4, y2: top, class: "edge" });
    if (wide > 7.5 * one.emotion.length + 8) shape(svg, "text", { x: left + 6, y: 16, class: "name" }, one.emotion);
  }
}

function colour(name) {
  const value = getComputedStyle(document.documentElement).getPropertyValue(name).trim().slice(1);
  const long = value.length === 3 ? [...value].map(one => one + one).join("") : value;
  return [0, 2, 4].map(at => parseInt(long.slice(at, at + 2), 16));
}

// Log-mel in the colours of the page: from its ground over the accent to the ink.
function drawMel(picture) {
  const { bands, columns, values } = picture.log_mel;
  const bytes = Uint8Array.from(atob(values), one => one.charCodeAt(0));
  const [low, high, most] = [colour("--tint"), colour("--accent"), colour("--ink")];
  const between = (from, to, share) => from.map((value, at) => value + share * (to[at] - value));
  const shades = Array.from({ length: 256 }, (_, value) => {
    const share = (value / 255) ** 1.4;
    return share < 0.65 ? between(low, high, share / 0.65) : between(high, most, (share - 0.65) / 0.35);
  });
  const canvas = document.getElementById("mel");
  canvas.width = columns;
  canvas.height = bands;
  canvas.setAttribute("aria-label", `Log-mel: the strength of ${bands} frequency bands over ${seconds(picture.seconds)}`);
  const context = canvas.getContext("2d"), image = context.createImageData(columns, bands);
  for (let column = 0; column < columns; column++) {
    for (let band = 0; band < bands; band++) {
      const at = 4 * ((bands - 1 - band) * columns + column);
      image.data.set([...shades[bytes[column * bands + band]], 255], at);
    }
  }
  context.putImageData(image, 0, 0);
}

// Where the fusion looked, over the log-mel: a line for each of its sides, and one for equal weights. Returns what the picture shows.
function drawAttention(attention) {
  const sides = Object.entries(attention).slice(0, 2);
  const { svg, width, height } = cleared("attention");
  svg.toggleAttribute("hidden", !sides.length);
  if (!sides.length) return "This model has no attention over time.";
  const most = Math.max(2, ...sides.flatMap(([, weights]) => weights));
  const y = value => (height - 2 - value / most * (height - 6)).toFixed(1);
  shape(svg, "line", { x1: 0, x2: width, y1: y(1), y2: y(1), class: "even" });
  const told = sides.map(([side, weights], number) => {
    const points = weights.map((value, place) => `${((place + 0.5) * width / weights.length).toFixed(1)},${y(value)}`).join(" ");
    shape(svg, "polyline", { points, class: "halo" });
    shape(svg, "polyline", { points, class: number ? "looked second" : "looked" });
    return `${side.replace(/_/g, " ")} (${number ? "dashed" : "solid"})`;
  }).join(", ");
  const peaks = sides.map(([side, weights]) => {
    const peak = weights.indexOf(Math.max(...weights));
    return `${side.replace(/_/g, " ")} most at ${seconds((peak + 0.5) / weights.length * shown.picture.seconds)}, ${weights[peak].toFixed(1)} times the mean`;
  });
  svg.setAttribute("aria-label", `Attention over time: ${peaks.join("; ")}`);
  return `The lines are the attention of the fusion's sides, ${told}; dotted: equal weights.`;
}

function drawAxis(length) {
  const { svg, width } = cleared("axis");
  const steps = [0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600];
  const step = steps.find(one => length / one <= width / 60) || 7200;
  for (let mark = 0; mark <= length; mark += step) {
    const x = mark / length * width;
    shape(svg, "line", { x1: x, x2: x, y1: 0, y2: 5, class: "rule" });
    const anchor = x < 15 ? "start" : x > width - 25 ? "end" : "middle";
    shape(svg, "text", { x, y: 18, "text-anchor": anchor }, `${mark} s`);
  }
}
