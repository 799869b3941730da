// Takes a picture with the camera: live where the browser allows it, else through the file dialog.

import { byId, showError } from "./dom.js";

/** Connects the buttons; `onPicture` gets the file. */
export function connectCamera(onPicture) {
  const dialog = byId("camera-dialog");
  const video = byId("camera-video");
  let stream = null;
  let asking = false;

  const stop = () => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    video.srcObject = null;
  };
  dialog.addEventListener("close", stop);
  byId("camera-close").onclick = () => dialog.close();

  byId("camera").onclick = async () => {
    if (asking) return; // a second stream would never be stopped
    // Browsers offer the live camera only to pages of this machine and of https.
    if (!navigator.mediaDevices?.getUserMedia) {
      byId("capture").click();
      return;
    }
    asking = true;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: "environment", width: { ideal: 1920 } },
      });
    } catch (error) {
      showError(`The camera cannot be used: ${error.message || error.name}.`);
      return;
    } finally {
      asking = false;
    }
    video.srcObject = stream;
    dialog.showModal();
    video.play().catch(() => {}); // the dialog was closed before the first frame
  };

  byId("shoot").onclick = () => {
    const size = { width: video.videoWidth, height: video.videoHeight };
    if (!size.width) return; // the first frame is not there yet
    const canvas = Object.assign(document.createElement("canvas"), size);
    canvas.getContext("2d").drawImage(video, 0, 0);
    dialog.close();
    canvas.toBlob(
      (blob) => {
        const time = new Date().toISOString().slice(0, 19).replace(/[:T]/g, "-");
        onPicture(new File([blob], `camera-${time}.jpg`, { type: "image/jpeg" }));
      },
      "image/jpeg",
      0.95,
    );
  };
}
