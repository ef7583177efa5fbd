"use strict";
const sizes = (list) => list.split(" ").map(parseFloat);
// Ends and starts of tracks: [[start, end], ...].
const tracks = (list, gap, start) => sizes(list).map((size) => {
  const track = [start, start + size];
  start += size + gap;
  return track;
});
function draw(grid) {
  const style = getComputedStyle(grid);
  const wide = grid.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const used = sizes(style.gridTemplateColumns).reduce((a, b) => a + b + parseFloat(style.columnGap));
  const left = parseFloat(style.paddingLeft) + Math.max(0, (wide - used) / 2);
  const columns = tracks(style.gridTemplateColumns, parseFloat(style.columnGap), left);
  const rows = tracks(style.gridTemplateRows, parseFloat(style.rowGap), parseFloat(style.paddingTop));
  const own = grid.getBoundingClientRect();
  let paths = "";
  for (const wire of grid.dataset.wires ? grid.dataset.wires.split(",") : []) {
    const [from, to, lane] = wire.split(" ");
    const a = document.getElementById("b" + from), b = document.getElementById("b" + to);
    const from_box = a.getBoundingClientRect(), to_box = b.getBoundingClientRect();
    const first = +a.dataset.row, last = +b.dataset.row;
    let x = from_box.left + from_box.width / 2 - own.left, y = rows[first][1];
    let path = `M${x} ${from_box.bottom - own.top}V${y}`;
    const bend = (to_x, to_y) => {
      path += `C${x} ${(y + to_y) / 2} ${to_x} ${(y + to_y) / 2} ${to_x} ${to_y}`;
      x = to_x;
    };
    if (last > first + 1) {
      bend((columns[lane][0] + columns[lane][1]) / 2, rows[first + 1][0]);
      y = rows[last - 1][1];
      path += `V${y}`;
    }
    bend(to_box.left + to_box.width / 2 - own.left, rows[last][0]);
    paths += `<path d="${path}V${to_box.top - own.top}"/>`;
  }
  grid.querySelector(":scope > .wires").innerHTML = paths;
}
function draw_all() {
  for (const grid of document.querySelectorAll(".grid")) if (grid.offsetParent) draw(grid);
}
document.addEventListener("click", (event) => {
  const button = event.target.closest(".node > button");
  if (!button) return;
  const open = button.parentElement.classList.toggle("open");
  button.setAttribute("aria-expanded", open);
  draw_all();
});
document.addEventListener("change", (event) => {
  if (event.target.name === "by") document.body.className = "by-" + event.target.value;
  draw_all();
});
addEventListener("resize", draw_all);
draw_all();
