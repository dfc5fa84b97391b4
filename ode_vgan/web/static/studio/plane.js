// The latent path in the plane where this run's clips move most: a line that darkens with time, a dot at now.

function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

export function between(path, t) {
  const { times, points } = path;
  let i = times.findIndex((one) => one >= t);
  if (i < 0) return points.at(-1);
  if (i === 0) return points[0];
  const share = (t - times[i - 1]) / (times[i] - times[i - 1]);
  return points[i].map((one, axis) => points[i - 1][axis] + share * (one - points[i - 1][axis]));
}

export function draw(canvas, path, t, window_seconds) {
  const ratio = Math.min(3, window.devicePixelRatio || 1);
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return;
  if (canvas.width !== Math.round(width * ratio)) { canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio); }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  if (!path) return;
  const reach = [0, 1].map((axis) => {
    const own = path.points.map((point) => point[axis]), low = Math.min(...own), high = Math.max(...own);
    const spare = Math.max(0, path.span / 2 - (high - low)) / 2;  // a clip that hardly moves is not blown up
    return [low - spare, high + spare];
  });
  const scale = Math.min((width - 20) / (reach[0][1] - reach[0][0] || 1), (height - 20) / (reach[1][1] - reach[1][0] || 1));
  const place = ([x, y]) => [
    width / 2 + (x - (reach[0][0] + reach[0][1]) / 2) * scale, height / 2 - (y - (reach[1][0] + reach[1][1]) / 2) * scale,
  ];
  const inside = colour("--link"), outside = colour("--warm");
  const span = path.times.at(-1) - path.times[0] || 1;
  pen.lineWidth = 2; pen.lineCap = "round";
  for (let i = 1; i < path.points.length; i += 1) {
    const within = path.times[i] <= window_seconds + 1e-6 && path.times[i - 1] >= -1e-6;
    pen.strokeStyle = within ? inside : outside;
    pen.globalAlpha = 0.25 + 0.75 * (path.times[i] - path.times[0]) / span;
    pen.beginPath(); pen.moveTo(...place(path.points[i - 1])); pen.lineTo(...place(path.points[i])); pen.stroke();
  }
  pen.globalAlpha = 1;
  pen.fillStyle = colour("--pale");
  if (path.marks.length <= 40) for (const row of path.marks) { pen.beginPath(); pen.arc(...place(path.points[row]), 1.8, 0, 7); pen.fill(); }
  pen.fillStyle = colour("--ink");
  pen.beginPath(); pen.arc(...place(between(path, t)), 4.5, 0, 7); pen.fill();
}
