# Dreamlift with its studio on a CPU, as a user without rights; outputs go to /out. See docs/install.md.
#
#   docker build -f installation/cpu.Dockerfile -t dreamlift .

FROM python:3.13-slim AS package
COPY . /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source

FROM python:3.13-slim
COPY constraints-cpu.txt /tmp/
RUN pip install --no-cache-dir -c /tmp/constraints-cpu.txt torch --index-url https://download.pytorch.org/whl/cpu
RUN --mount=type=bind,from=package,source=/wheels,target=/wheels \
    pip install --no-cache-dir -c /tmp/constraints-cpu.txt "dreamlift[lora,studio] @ file://$(ls /wheels/*.whl)"
RUN useradd --uid 1000 dreamer && install -d -o dreamer /out
USER 1000
WORKDIR /out
EXPOSE 7860
CMD ["dreamlift", "doctor"]
