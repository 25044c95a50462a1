// Reads an npz of numpy: a zip of stored .npy files. Arrays of other types than these come without values.

const KINDS = { "<f4": Float32Array, "<f8": Float64Array, "<i8": BigInt64Array };

export function readArrays(buffer) {
  const view = new DataView(buffer);
  let end = buffer.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end -= 1;
  if (end < 0) throw new Error("the answer is not an npz file; ask again");
  const arrays = {};
  let entry = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left -= 1) {
    const nameLength = view.getUint16(entry + 28, true);
    const name = new TextDecoder().decode(new Uint8Array(buffer, entry + 46, nameLength));
    const local = view.getUint32(entry + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    arrays[name.replace(/\.npy$/, "")] = readArray(buffer, start);
    entry += 46 + nameLength + view.getUint16(entry + 30, true) + view.getUint16(entry + 32, true);
  }
  return arrays;
}

function readArray(buffer, start) {
  const length = new DataView(buffer).getUint16(start + 8, true);
  const header = new TextDecoder().decode(new Uint8Array(buffer, start + 10, length));
  const type = /'descr': '([^']+)'/.exec(header)[1];
  const shape = [.../'shape': \(([^)]*)\)/.exec(header)[1].matchAll(/\d+/g)].map((match) => Number(match[0]));
  if (!(type in KINDS)) return { type, shape };
  const size = shape.reduce((product, side) => product * side, 1);
  const first = start + 10 + length;
  const bytes = buffer.slice(first, first + size * KINDS[type].BYTES_PER_ELEMENT);
  return { type, shape, values: new KINDS[type](bytes) };
}
