// Where the networks run: on the processor, or on the graphics card if the browser lends it.

function mountDevice(root) {
  const told = make("p", {}, "The networks run on one core of your processor.");
  root.append(told);
  navigator.gpu?.requestAdapter().then((adapter) => {
    if (!adapter) return;
    const where = choice("The networks run on", [["wasm", "one core of the processor"], ["webgpu", "the graphics card (WebGPU)"]], "wasm");
    where.control.addEventListener("change", () => engine.move(where.value()));
    told.replaceWith(where.element);
  });
}
