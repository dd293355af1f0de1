# Labels and images without labels: a record of a teacher on these is a label file (docs/teachers.md).
_base_ = ['../../simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py']

labeled = dict(_base_.train_dataloader.dataset)
train_pipeline = labeled.pop('pipeline')
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CombinedDataset',
        metainfo=dict(from_file='configs/_base_/datasets/coco.py'),
        datasets=[
            dict(labeled, pipeline=[]),
            dict(
                labeled,
                ann_file='annotations/unlabelled_record.json',
                data_prefix=dict(img='unlabelled/'),
                pipeline=[]),
        ],
        pipeline=train_pipeline))
