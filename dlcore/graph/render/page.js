const view = document.querySelector('.view'), drawing = view.querySelector('svg');
const rows = [...document.querySelectorAll('.row[data-node]')], size = [drawing.width.baseVal.value,
  drawing.height.baseVal.value];
let scale = 1;
function zoom(to) {
  const x = (view.scrollLeft + view.clientWidth / 2) / scale, y = (view.scrollTop + view.clientHeight / 2) / scale;
  scale = Math.min(8, Math.max(0.02, to));
  drawing.setAttribute('width', size[0] * scale); drawing.setAttribute('height', size[1] * scale);
  view.scrollTo(x * scale - view.clientWidth / 2, y * scale - view.clientHeight / 2);
}
const fit = () => Math.min(view.clientWidth / size[0], 1);
document.getElementById('in').onclick = () => zoom(scale * 1.3);
document.getElementById('out').onclick = () => zoom(scale / 1.3);
document.getElementById('fit').onclick = () => zoom(fit());
document.getElementById('all').onclick = () => zoom(1);
view.addEventListener('wheel', event => {
  if (event.ctrlKey) { event.preventDefault(); zoom(scale * Math.exp(-event.deltaY / 300)); }
}, { passive: false });
view.addEventListener('pointerdown', event => {
  const from = [event.clientX, event.clientY, view.scrollLeft, view.scrollTop];
  view.onpointermove = now => view.scrollTo(from[2] + from[0] - now.clientX, from[3] + from[1] - now.clientY);
});
for (const end of ['pointerup', 'pointerleave'])
  view.addEventListener(end, () => { view.onpointermove = null; });
function choose(node, toDrawing) {
  document.querySelectorAll('.selected').forEach(element => element.classList.remove('selected'));
  const row = rows.find(row => row.dataset.node === node), box = document.getElementById('dl-' + node);
  row.classList.add('selected'); box.classList.add('selected');
  for (let fold = row.parentElement; fold; fold = fold.parentElement)
    if (fold.tagName === 'DETAILS') fold.open = true;
  const frame = box.querySelector('rect'), middle = name => frame[name].baseVal.value * scale;
  if (toDrawing) view.scrollTo({ left: middle('x') - view.clientWidth / 2 + middle('width') / 2,
    top: middle('y') - view.clientHeight / 2, behavior: 'smooth' });
  else row.scrollIntoView({ block: 'center' });
}
rows.forEach(row => { row.onclick = () => choose(row.dataset.node, true); });
drawing.querySelectorAll('g[id]').forEach(box => { box.ondblclick = () => choose(box.id.slice(3), false); });
document.getElementById('search').oninput = event => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  let matches = 0, first = null;
  for (const row of rows) {
    const fits = words.every(word => row.textContent.toLowerCase().includes(word));
    row.hidden = !fits; matches += fits; first = first || (fits ? row : null);
    document.getElementById('dl-' + row.dataset.node).classList.toggle('dimmed', !fits);
  }
  document.getElementById('matches').textContent = words.length ? matches + ' of ' + rows.length + ' nodes' : '';
  if (words.length && first) choose(first.dataset.node, true);
};
zoom(Math.max(fit(), 0.6));
