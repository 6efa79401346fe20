// Where the networks run: on the processor, or on the graphics card if the browser lends it.

function mountDevice(root) {
  const asked = async () => navigator.gpu?.requestAdapter();
  asked().catch(() => null).then((adapter) => { // an adapter that fails is as good as none
    if (!adapter) return root.append(make("p", {}, "Your browser offers no WebGPU, so the networks run on one core of your processor."));
    const where = choice("The networks run on", [["wasm", "one core of the processor"], ["webgpu", "the graphics card (WebGPU)"]], "wasm");
    const problem = make("p", {});
    where.control.addEventListener("change", () => engine.move(where.value()));
    engine.whenLoaded.push(() => {
      where.control.value = engine.device;
      problem.textContent = engine.cardFailed ? "The graphics card failed, so the networks run on the processor. You can choose the card again." : "";
    });
    root.append(where.element, problem);
  });
}
