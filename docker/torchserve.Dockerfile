# Serves the same archives with TorchServe 0.12, its last release; see docs/docker.md.
#
#   docker build --file docker/torchserve.Dockerfile --tag boxwright-torchserve .
#   docker run --rm --publish 127.0.0.1:8080:8080 --volume "$PWD/model-store:/models:ro" boxwright-torchserve
#
# All archives in /models are served. TorchServe runs the Python code in an archive: mount only your own archives.

FROM pytorch/torchserve:0.12.0-cpu
# For archives whose networks the image cannot build; the last version for its Python 3.9.
RUN python -m pip install --no-cache-dir onnxruntime==1.19.2
COPY docker/torchserve.properties /home/model-server/boxwright.properties
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import ProxyHandler, build_opener; \
build_opener(ProxyHandler({})).open('http://127.0.0.1:8080/ping', timeout=4)"]
# --disable-token-auth: everybody who can reach the port can ask for predictions, as with boxwright serve. With tokens, TorchServe
# writes new ones to key_file.json in the container at each start, and every request needs one, even /ping.
ENTRYPOINT ["torchserve", "--start", "--foreground", "--ncs", "--disable-token-auth", \
    "--ts-config", "/home/model-server/boxwright.properties"]
