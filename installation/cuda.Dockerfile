# Dreamlift with its studio on a CUDA GPU, as a user without rights; outputs go to /out. See docs/install.md.
# PyTorch's wheels bring CUDA's libraries: the host needs the driver and NVIDIA's container toolkit, nothing else.
#
#   docker build -f installation/cuda.Dockerfile -t dreamlift-cuda .

FROM python:3.13-slim AS package
COPY . /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source

FROM python:3.13-slim
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN --mount=type=bind,from=package,source=/wheels,target=/wheels \
    pip install --no-cache-dir "dreamlift[cuda,lora,studio] @ file://$(ls /wheels/*.whl)"
RUN useradd --uid 1000 dreamer && install -d -o dreamer /out
USER 1000
WORKDIR /out
EXPOSE 7860
CMD ["dreamlift", "doctor"]
