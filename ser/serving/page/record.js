// The microphone, as 16 bit PCM in a WAV: no lossy codec changes what the model hears, and no server has to decode one.

const TAP = "registerProcessor('tap', class extends AudioWorkletProcessor { process(inputs) { if (inputs[0][0]) this.port.postMessage(inputs[0][0].slice()); return true; } });";

class Recorder {
  // `heard(seconds, level)` is called many times a second; level is the peak since the last call, 0–1.
  static async started(heard) {
    if (!navigator.mediaDevices || !window.AudioWorkletNode) {
      throw new Error("This browser gives the microphone to pages over https or from this machine only. Choose a file instead.");
    }
    const recorder = new Recorder();
    // What a phone does for calls would change the voice.
    recorder.stream = await navigator.mediaDevices.getUserMedia(
      { audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
    recorder.context = new AudioContext();
    recorder.blocks = [];
    recorder.values = 0;
    const address = URL.createObjectURL(new Blob([TAP], { type: "text/javascript" }));
    try {
      await recorder.context.audioWorklet.addModule(address);
    } catch (error) {
      await recorder.closed();
      throw error;
    } finally {
      URL.revokeObjectURL(address);
    }
    const tap = new AudioWorkletNode(recorder.context, "tap");
    tap.port.onmessage = event => {
      recorder.blocks.push(event.data);
      recorder.values += event.data.length;
      heard(recorder.values / recorder.context.sampleRate, event.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0));
    };
    recorder.context.createMediaStreamSource(recorder.stream).connect(tap).connect(recorder.context.destination);
    await recorder.context.resume();
    return recorder;
  }

  async closed() {
    this.stream.getTracks().forEach(track => track.stop());
    await this.context.close();
  }

  async stopped() {
    await this.closed();
    return wav(this.blocks, this.values, this.context.sampleRate);
  }
}

function wav(blocks, values, rate) {
  const file = new DataView(new ArrayBuffer(44 + 2 * values));
  const word = (at, text) => [...text].forEach((sign, place) => file.setUint8(at + place, sign.charCodeAt(0)));
  word(0, "RIFF"); file.setUint32(4, 36 + 2 * values, true); word(8, "WAVEfmt ");
  file.setUint32(16, 16, true); file.setUint16(20, 1, true); file.setUint16(22, 1, true);
  file.setUint32(24, rate, true); file.setUint32(28, 2 * rate, true); file.setUint16(32, 2, true); file.setUint16(34, 16, true);
  word(36, "data"); file.setUint32(40, 2 * values, true);
  let at = 44;
  for (const block of blocks) {
    for (const value of block) {
      file.setInt16(at, Math.max(-32768, Math.min(32767, Math.round(32768 * value))), true);
      at += 2;
    }
  }
  return new Blob([file], { type: "audio/wav" });
}
